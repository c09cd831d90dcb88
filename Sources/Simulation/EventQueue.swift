/// A binary heap of events in virtual time; events of one moment come in the order they were pushed.
struct EventQueue<Element> {
  private var heap: [(at: UInt64, order: UInt64, element: Element)] = []
  private var pushed: UInt64 = 0

  mutating func push(_ element: Element, at: UInt64) {
    pushed += 1
    heap.append((at, pushed, element))
    var child = heap.count - 1
    while child > 0, isLess(child, (child - 1) / 2) {
      heap.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func pop() -> (at: UInt64, element: Element)? {
    guard let first = heap.first else { return nil }
    let last = heap.removeLast()
    if !heap.isEmpty {
      heap[0] = last
      sink()
    }
    return (first.at, first.element)
  }

  private mutating func sink() {
    var parent = 0
    while true {
      let left = 2 * parent + 1
      guard left < heap.count else { return }
      let smaller = left + 1 < heap.count && isLess(left + 1, left) ? left + 1 : left
      guard isLess(smaller, parent) else { return }
      heap.swapAt(smaller, parent)
      parent = smaller
    }
  }

  private func isLess(_ one: Int, _ other: Int) -> Bool {
    (heap[one].at, heap[one].order) < (heap[other].at, heap[other].order)
  }
}
