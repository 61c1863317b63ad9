// swift-tools-version: 6.2
import PackageDescription

/// Targets stand bottom to top: a module imports only what stands above it here. All of it is for Linux on x86-64 and
/// ARM64 and uses the calls of Linux directly; `platforms:` knows no Linux and is left out.
/// `Sources/Handbook/Handbook.docc/Architecture.md` tells why.

let swiftSettings: [SwiftSetting] =
  [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
  ] + (Context.environment["NEEDLETAIL_WARNINGS_AS_ERRORS"] == nil ? [] : [.treatAllWarnings(as: .error)])

/// What runs per call. Its state is confined to event loops, and the tests, being debug builds, hold it to the law
/// of exclusivity: checking that anew 50 times a call took a tenth of its instructions. Generic code is specialised
/// where another module uses it. `NeedletailClient` does without: unsafe flags keep a package from depending on it.
let dataPlaneSettings =
  swiftSettings + [
    .unsafeFlags(
      ["-enforce-exclusivity=unchecked", "-cross-module-optimization"], .when(configuration: .release))
  ]

let cSettings: [CSetting] = [
  .unsafeFlags(["-O3", "-ffp-contract=off", "-fno-math-errno", "-Wall", "-Wextra"])
]

let package = Package(
  name: "needletail",
  products: [
    .executable(name: "needletail-server", targets: ["needletail-server"]),
    .executable(name: "needletail-trainer", targets: ["needletail-trainer"]),
    .executable(name: "needletail", targets: ["needletail"]),
    .library(name: "NeedletailClient", targets: ["NeedletailClient"]),
    .library(name: "NeedletailEmbedded", type: .static, targets: ["NeedletailEmbedded"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    // C: kernels and generated messages; system libraries.
    .target(name: "CNeedletailAllocations", cSettings: cSettings),
    .target(name: "CNeedletailCSV", cSettings: cSettings),
    .target(name: "CNeedletailKernels", cSettings: cSettings),
    .target(name: "CNeedletailSockets", cSettings: cSettings),
    .target(name: "CNeedletailSystem"),
    .target(name: "CNeedletailText", dependencies: ["CNeedletailKernels"], cSettings: cSettings),
    .target(
      name: "CNeedletailTraining", dependencies: ["CNeedletailKernels", "CNeedletailText"], cSettings: cSettings),
    .target(name: "CNeedletailProto", linkerSettings: [.linkedLibrary("protobuf-c")]),
    .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
    .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])]),
    .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    // Nouns without I/O.
    .target(name: "NeedletailCore", swiftSettings: swiftSettings),

    // Files of the operating system, threads and waking them; figures of the process.
    .target(
      name: "NeedletailSystem", dependencies: ["CNeedletailSystem", "NeedletailCore"], swiftSettings: swiftSettings),
    .target(
      name: "NeedletailMetrics", dependencies: ["NeedletailCore", "NeedletailSystem"],
      swiftSettings: dataPlaneSettings),

    // Hashes and signatures, by the OpenSSL of the system.
    .target(name: "NeedletailCrypto", dependencies: ["COpenSSL"], swiftSettings: swiftSettings),

    // Products of large fp32 matrices by the OpenBLAS of the system, which starts threads where it is loaded.
    .target(name: "NeedletailBLAS", dependencies: ["COpenBLAS"], swiftSettings: swiftSettings),

    // Text to values that know their line.
    .target(
      name: "NeedletailCSV", dependencies: ["CNeedletailCSV", "CZlib", "CZstd", "NeedletailCore"],
      swiftSettings: dataPlaneSettings),
    .target(
      name: "NeedletailYAML",
      dependencies: ["NeedletailCore", .product(name: "Yams", package: "Yams")],
      swiftSettings: swiftSettings),

    // Bytes to messages. Calls are read and written in Swift, on the server and in the client. Libprotobuf-c reads and
    // writes the messages inside bundles, and is a second opinion on calls in the tests.
    .target(name: "NeedletailProtobuf", dependencies: ["NeedletailCore"], swiftSettings: swiftSettings),

    // Graph to answer. Below the bundle, for each operation brings its own message: the bundle's reader asks the
    // engine what a node says, and nothing else lists operations.
    .target(
      name: "NeedletailEngine",
      dependencies: [
        "CNeedletailKernels", "CNeedletailProto", "CNeedletailText", "NeedletailCore", "NeedletailSystem",
        "NeedletailProtobuf",
      ],
      swiftSettings: dataPlaneSettings),

    // Frames of calls, and files to models.
    .target(
      name: "NeedletailWire",
      dependencies: [
        "NeedletailCore", "NeedletailProtobuf",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings),
    .target(
      name: "NeedletailBundle",
      dependencies: [
        "CNeedletailProto", "CZstd", "NeedletailCore", "NeedletailSystem", "NeedletailProtobuf", "NeedletailEngine",
        "NeedletailCrypto", "NeedletailYAML",
      ],
      swiftSettings: swiftSettings),

    // TLS without sockets, by the OpenSSL of the system.
    .target(
      name: "NeedletailTLS",
      dependencies: [
        "COpenSSL", "CNeedletailSystem", "NeedletailCore", "NeedletailCrypto",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings),

    // Objects of S3-compatible stores over HTTP, and bundles among them: the server reads them, the trainer writes them.
    .target(
      name: "NeedletailObjectStore",
      dependencies: [
        "NeedletailCore", "NeedletailSystem", "NeedletailCrypto", "NeedletailYAML", "NeedletailBundle",
        "NeedletailTLS",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings),

    // One bundle inside of another program, behind the C interface of libneedletail.h; deploy/library links it.
    .target(name: "CNeedletailEmbedded", cSettings: cSettings),
    .target(
      name: "NeedletailEmbedded",
      dependencies: [
        "CNeedletailEmbedded", "NeedletailCore", "NeedletailSystem", "NeedletailEngine", "NeedletailBundle",
      ],
      swiftSettings: dataPlaneSettings),

    // Who may ask for what, and how much of it.
    .target(
      name: "NeedletailSecurity",
      dependencies: [
        "NeedletailCore", "NeedletailCrypto", "NeedletailYAML",
      ],
      swiftSettings: swiftSettings),

    // Calls of Redis by hiredis, linked statically: its name differs from one distribution to the next.
    .target(
      name: "NeedletailRedis", dependencies: ["CHiredis", "NeedletailCore", "NeedletailSystem"],
      swiftSettings: swiftSettings, linkerSettings: [.linkedLibrary(":libhiredis.a")]),

    // Captured calls: segments, rules and redaction. The server writes them; the command line reads them.
    .target(
      name: "NeedletailCapture",
      dependencies: [
        "CZlib", "CZstd", "NeedletailCore", "NeedletailSystem", "NeedletailCrypto", "NeedletailYAML",
      ],
      swiftSettings: dataPlaneSettings),

    // Captured calls asked again and compared: of the command line, and before the trainer publishes.
    .target(
      name: "NeedletailReplay", dependencies: ["NeedletailCore", "NeedletailEngine", "NeedletailCapture"],
      swiftSettings: swiftSettings),

    // Store to live model.
    .target(
      name: "NeedletailModels",
      dependencies: [
        "NeedletailCore", "NeedletailSystem", "NeedletailMetrics", "NeedletailBundle", "NeedletailEngine",
        "NeedletailCrypto", "NeedletailObjectStore", "NeedletailYAML",
        .product(name: "DequeModule", package: "swift-collections"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
      ],
      swiftSettings: dataPlaneSettings),

    // Admission and batches; a simulator can drive it.
    .target(
      name: "NeedletailServing",
      dependencies: [
        "NeedletailCore", "NeedletailSystem", "NeedletailMetrics", "NeedletailEngine", "NeedletailCapture",
        "NeedletailModels",
      ],
      swiftSettings: dataPlaneSettings),

    // Waiting for sockets: of the server and of the load generator.
    .target(
      name: "NeedletailSockets",
      dependencies: [
        "CNeedletailSockets", "NeedletailCore", "NeedletailSystem",
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: dataPlaneSettings),

    // Connections, admin HTTP, configuration.
    .target(
      name: "NeedletailServer",
      dependencies: [
        "CNeedletailAllocations", "NeedletailCore", "NeedletailSystem", "NeedletailMetrics", "NeedletailBLAS",
        "NeedletailProtobuf", "NeedletailWire", "NeedletailBundle", "NeedletailEngine", "NeedletailModels",
        "NeedletailCrypto", "NeedletailSecurity", "NeedletailObjectStore", "NeedletailRedis", "NeedletailCapture",
        "NeedletailServing", "NeedletailSockets", "NeedletailTLS", "NeedletailYAML",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
        .product(name: "Logging", package: "swift-log"),
        .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
        .product(name: "UnixSignals", package: "swift-service-lifecycle"),
      ],
      // In the binary: what is installed is one file.
      resources: [.embedInCode("Admin/Page/status.css"), .embedInCode("Admin/Page/status.js")],
      swiftSettings: dataPlaneSettings),

    .target(
      name: "NeedletailClient",
      dependencies: [
        "NeedletailCore", "NeedletailTLS", "NeedletailWire",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOPosix", package: "swift-nio"),
      ],
      swiftSettings: swiftSettings),

    // Schedules, frames, statistics and sockets of `needletail bench`.
    .target(
      name: "NeedletailLoad",
      dependencies: [
        "NeedletailCore", "NeedletailSystem", "NeedletailProtobuf", "NeedletailWire", "NeedletailSockets",
        "NeedletailTLS",
        "NeedletailClient",
        .product(name: "Histogram", package: "hdrhistogram-swift"),
        .product(name: "NIOCore", package: "swift-nio"),
      ],
      swiftSettings: dataPlaneSettings),

    // Offline: never linked into the server.
    .target(
      name: "NeedletailTraining",
      dependencies: [
        "CNeedletailTraining", "COpenBLAS", "CSQLite", "NeedletailCore", "NeedletailSystem", "NeedletailCrypto",
        "NeedletailBLAS", "NeedletailBundle", "NeedletailEngine", "NeedletailCSV", "NeedletailObjectStore",
        "NeedletailReplay", "NeedletailYAML",
        .product(name: "Yams", package: "Yams"),
      ],
      resources: [.embedInCode("Report/report.css")],
      swiftSettings: swiftSettings),

    // Argument parsing and wiring only.
    .executableTarget(
      name: "needletail-server",
      dependencies: [
        "NeedletailServer", "NeedletailCore",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "needletail-trainer",
      dependencies: [
        "NeedletailTraining", "NeedletailSystem", "NeedletailBundle", "NeedletailEngine", "NeedletailCSV",
        "NeedletailCore",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),
    .executableTarget(
      name: "needletail",
      dependencies: [
        "NeedletailClient", "NeedletailLoad", "NeedletailBundle", "NeedletailEngine", "NeedletailSecurity",
        "NeedletailCore", "NeedletailSystem", "NeedletailModels", "NeedletailObjectStore", "NeedletailCapture",
        "NeedletailReplay", "NeedletailCSV", "NeedletailYAML",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: swiftSettings),
  ],
  swiftLanguageModes: [.v6]
)

/// Tests mirror the sources; `NeedletailTestSupport` holds the fixtures they share.
let testedModules: [(name: String, extra: [Target.Dependency])] = [
  ("NeedletailCore", []),
  ("NeedletailSystem", ["CNeedletailSystem"]),
  ("NeedletailMetrics", []),
  ("NeedletailCrypto", []),
  ("NeedletailBLAS", []),
  ("NeedletailCSV", []),
  ("NeedletailYAML", []),
  ("NeedletailProtobuf", []),
  ("NeedletailWire", ["CNeedletailProto", "NeedletailProtobuf", .product(name: "NIOCore", package: "swift-nio")]),
  ("NeedletailBundle", ["CNeedletailProto", "NeedletailProtobuf", "NeedletailEngine"]),
  ("NeedletailObjectStore", ["NeedletailBundle"]),
  ("NeedletailEmbedded", ["CNeedletailEmbedded", "NeedletailBundle", "NeedletailEngine"]),
  ("NeedletailRedis", []),
  ("NeedletailSecurity", ["NeedletailYAML"]),
  ("NeedletailCapture", ["NeedletailYAML"]),
  ("NeedletailReplay", ["NeedletailCapture", "NeedletailEngine"]),
  ("NeedletailEngine", ["CNeedletailKernels", "CNeedletailProto", "CNeedletailText", "NeedletailBLAS"]),
  (
    "NeedletailModels",
    [
      "NeedletailMetrics", "NeedletailBundle", "NeedletailEngine", "NeedletailObjectStore", "NeedletailYAML",
      .product(name: "Logging", package: "swift-log"),
    ]
  ),
  ("NeedletailServing", ["NeedletailModels", "NeedletailEngine", "NeedletailCapture"]),
  (
    "NeedletailTLS",
    [.product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")]
  ),
  ("NeedletailSockets", [.product(name: "NIOCore", package: "swift-nio")]),
  (
    "NeedletailServer",
    [
      "NeedletailClient", "NeedletailWire", "NeedletailModels", "NeedletailBundle", "NeedletailEngine",
      "NeedletailCapture", "NeedletailSecurity", "NeedletailServing", "NeedletailTLS", "needletail-server",
      .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
      .product(name: "Logging", package: "swift-log"),
      .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
    ]
  ),
  ("NeedletailClient", ["NeedletailProtobuf", "NeedletailWire", .product(name: "NIOPosix", package: "swift-nio")]),
  (
    "NeedletailLoad",
    [
      "NeedletailClient", "NeedletailProtobuf", "NeedletailTLS", "NeedletailWire",
      .product(name: "Histogram", package: "hdrhistogram-swift"),
      .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio"),
    ]
  ),
  (
    "NeedletailTraining",
    [
      "CNeedletailTraining", "NeedletailBLAS", "NeedletailBundle", "NeedletailCSV", "NeedletailCapture",
      "NeedletailEngine", "NeedletailModels", "NeedletailYAML",
    ]
  ),
]

/// Modules whose tests are built: `NEEDLETAIL_TESTS` names some, separated by spaces, or `none`; without it, all.
let testsWanted = (Context.environment["NEEDLETAIL_TESTS"] ?? "").split(separator: " ").map(String.init)
let testsBuilt = testedModules.filter { testsWanted.isEmpty || testsWanted.contains($0.name) }
let isFuzzing = Context.environment["NEEDLETAIL_FUZZ"] != nil

if !testsBuilt.isEmpty || isFuzzing {
  package.targets += [
    .target(
      name: "NeedletailTestSupport",
      dependencies: [
        "CNeedletailAllocations", "NeedletailCore", "NeedletailBundle", "NeedletailEngine", "NeedletailCapture",
      ],
      path: "Tests/NeedletailTestSupport",
      swiftSettings: swiftSettings)
  ]
}

package.targets += testsBuilt.map { module in
  .testTarget(
    name: module.name + "Tests",
    dependencies: [.target(name: module.name), "NeedletailTestSupport"]
      + (module.name == "NeedletailCore" ? [] : ["NeedletailCore"]) + module.extra,
    exclude: module.name == "NeedletailBundle" ? ["Fixtures"] : [],
    swiftSettings: swiftSettings)
}

// libFuzzer targets, built by Tests/fuzz/run only: they link with `-sanitize=fuzzer` and nothing else.
if isFuzzing {
  package.targets += [
    .target(name: "FuzzDriver", path: "Tests/fuzz/driver", swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-frame",
      dependencies: ["FuzzDriver", "NeedletailWire", .product(name: "NIOCore", package: "swift-nio")],
      path: "Tests/fuzz/frame", swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-request",
      dependencies: ["FuzzDriver", "NeedletailCore", "NeedletailProtobuf", "NeedletailWire", "CNeedletailProto"],
      path: "Tests/fuzz/request", swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-http",
      dependencies: [
        "FuzzDriver", "NeedletailCore", "NeedletailProtobuf", "NeedletailServer", "NeedletailSystem", "NeedletailWire",
        .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOEmbedded", package: "swift-nio"),
        .product(name: "NIOHTTP1", package: "swift-nio"),
      ],
      path: "Tests/fuzz/http", exclude: ["seeds.py", "tokens.dict"], swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-bundle",
      dependencies: [
        "FuzzDriver", "NeedletailBundle", "NeedletailCore", "NeedletailEngine", "NeedletailTestSupport",
      ],
      path: "Tests/fuzz/bundle", swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-import",
      dependencies: ["FuzzDriver", "NeedletailCore", "NeedletailEngine", "NeedletailTraining"],
      path: "Tests/fuzz/import", exclude: ["tokens.dict"], swiftSettings: swiftSettings),
    .executableTarget(
      name: "fuzz-folder",
      dependencies: ["FuzzDriver", "NeedletailCore", "NeedletailEngine", "NeedletailTraining"],
      path: "Tests/fuzz/folder", swiftSettings: swiftSettings),
  ]
}

// Run plans for Tests/peers/run trees and embedded, which build them.
if Context.environment["NEEDLETAIL_PEERS"] != nil {
  package.targets += [
    .executableTarget(
      name: "needletail-tree-timer", dependencies: ["NeedletailBundle", "NeedletailCore", "NeedletailEngine"],
      path: "Tests/peers/trees/timer", swiftSettings: swiftSettings),
    .executableTarget(
      name: "needletail-embedded-timer",
      dependencies: [
        "CNeedletailEmbedded", "NeedletailBundle", "NeedletailCore", "NeedletailEmbedded", "NeedletailEngine",
      ],
      path: "Tests/peers/embedded/timer", swiftSettings: swiftSettings),
  ]
}

// The handbook, built by Tests/handbook/run only. The package then holds nothing else, so that building the
// documentation neither fetches the product's dependencies nor compiles the product, and no other build pays for it.
if Context.environment["NEEDLETAIL_HANDBOOK"] != nil {
  package.dependencies = [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]
  package.products = []
  package.targets = [.target(name: "Handbook", swiftSettings: swiftSettings)]
}
