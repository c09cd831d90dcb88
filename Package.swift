// swift-tools-version: 6.2
import PackageDescription

// Every module is compiled alike: Swift 6 mode, warnings are errors, imports say how far they reach.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let grdbSQLite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let histogram = Target.Dependency.product(name: "Histogram", package: "hdrhistogram-swift")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")

// A module imports only from floors below its own. Tests/HouseTests reads the floors from the
// comments below and compares them with the imports in Sources.
let package = Package(
  name: "fullmind",
  platforms: [.macOS("26.0")],
  products: [
    .executable(name: "fullmind", targets: ["fullmind"]),
    .library(name: "FullmindStores", targets: ["Stores", "Relays", "Storage", "Replica", "Therapy"]),
  ],
  dependencies: [
    // Commands, help, completions and exit statuses of the command line.
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    // All cryptography; version 4 has X-Wing.
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    // Wire and file formats that clients in other languages can read; the generated code is committed.
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    // What is left behind when something goes wrong: levels and fields, for a file of our own.
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    // SQLite: statements, transactions, migrations.
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    // Percentiles that are counted, not guessed from means.
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    // Theme files.
    .package(url: "https://github.com/LebJe/TOMLKit", from: "0.6.0"),
  ],
  targets: [
    // floor 0 · ground: C and generated code
    .target(name: "CSystem", swiftSettings: strict),
    .target(
      name: "CNcurses",
      linkerSettings: [.linkedLibrary("ncursesw"), .linkedLibrary("tinfo", .when(platforms: [.linux]))]),
    .target(
      name: "WireFormat", dependencies: [protobuf], exclude: ["fullmind.proto"],
      swiftSettings: [.swiftLanguageMode(.v6)]),

    // floor 1 · what is written, and when: identifiers, clock, values, operations
    .target(name: "Causality", dependencies: ["WireFormat", crypto, protobuf], swiftSettings: strict),

    // floor 1 · what is shown on the worst day: static text, no dependency of any kind
    .target(name: "Crisis", swiftSettings: strict),

    // floor 2 · rules: how writes merge; how bytes are sealed
    .target(name: "ConflictResolution", dependencies: ["Causality", "WireFormat", protobuf], swiftSettings: strict),
    .target(
      name: "Sealing", dependencies: ["Causality", "WireFormat", crypto, cryptoExtras, protobuf],
      resources: [.embedInCode("Resources/bip39-english.txt")], swiftSettings: strict),

    // floor 3 · therapy: record kinds, instruments, crisis levels, help lines, tiers
    .target(name: "Therapy", dependencies: ["Causality", "ConflictResolution", "Crisis"], swiftSettings: strict),

    // floor 4 · engine: everything one replica decides
    .target(
      name: "Replica",
      dependencies: ["Causality", "ConflictResolution", "Sealing", "Therapy", "WireFormat", crypto, protobuf],
      swiftSettings: strict),

    // floor 5 · doors: the disk and the relay
    .target(
      name: "Storage",
      dependencies: [
        "CSystem", "Causality", "ConflictResolution", "Replica", "Sealing", "Therapy", "WireFormat", grdb, grdbSQLite,
      ],
      swiftSettings: strict),
    .target(name: "Relays", dependencies: ["CSystem", "Causality", "Replica"], swiftSettings: strict),

    // floor 6 · stores: drivers, and what the faces read and ask for
    .target(
      name: "Stores",
      dependencies: [
        "CSystem", "Causality", "ConflictResolution", "Crisis", "Relays", "Replica", "Sealing", "Storage", "Therapy",
        "WireFormat", histogram, logging,
      ],
      swiftSettings: strict),
    .target(
      name: "Simulation",
      dependencies: ["Causality", "ConflictResolution", "Crisis", "Relays", "Replica", "Sealing", "Therapy", crypto],
      swiftSettings: strict),

    // floor 7 · dashboard: state in, frame out; knows no ncurses
    .target(
      name: "Themes", dependencies: [], path: "themes",
      resources: [
        .embedInCode("fullmind.toml"), .embedInCode("daylight.toml"), .embedInCode("high-contrast.toml"),
        .embedInCode("deuteranopia.toml"), .embedInCode("tritanopia.toml"), .embedInCode("monochrome.toml"),
        .embedInCode("gruvbox.toml"), .embedInCode("nord.toml"), .embedInCode("solarized.toml"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)]),

    // floor 8 · dashboard
    .target(
      name: "Dashboard", dependencies: ["Causality", "Crisis", "Stores", "Therapy", "Themes", toml], swiftSettings: strict),

    // floor 9 · terminal: ncurses on the main thread
    .target(
      name: "Terminal", dependencies: ["CNcurses", "CSystem", "Causality", "Dashboard", "Stores"],
      exclude: ["Resources/terminfo.src"],
      resources: [.embedInCode("Resources/fullmind-xterm"), .embedInCode("Resources/fullmind-tmux")],
      swiftSettings: strict),

    // floor 10 · commands: the only place where everything meets
    .target(
      name: "Commands",
      dependencies: [
        "CSystem", "Causality", "ConflictResolution", "Crisis", "Dashboard", "Relays", "Replica", "Sealing", "Simulation",
        "Storage", "Stores", "Terminal", "Therapy", argumentParser, grdb, grdbSQLite, crypto,
      ],
      swiftSettings: strict),

    // floor 11 · roof
    .executableTarget(name: "fullmind", dependencies: ["Commands"], swiftSettings: strict),

    // tests: rules as values, doors against contracts, faces as a person meets them
    .testTarget(
      name: "RulesTests",
      dependencies: ["Causality", "ConflictResolution", "Crisis", "Replica", "Sealing", "Therapy", "WireFormat", crypto],
      swiftSettings: strict),
    .testTarget(
      name: "DoorsTests",
      dependencies: [
        "Causality", "ConflictResolution", "Crisis", "Relays", "Replica", "Sealing", "Simulation", "Storage", "Stores",
        "Therapy", crypto, grdb,
      ],
      swiftSettings: strict),
    .testTarget(
      name: "FacesTests",
      dependencies: [
        "CSystem", "Causality", "Crisis", "Dashboard", "Replica", "Sealing", "Storage", "Stores", "Therapy", "Themes",
        "fullmind",
      ],
      swiftSettings: strict),
  ]
)
