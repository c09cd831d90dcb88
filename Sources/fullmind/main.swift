import Commands

Fullmind.start()
