import Logging
import NeedletailCore
import NeedletailModels
import Testing

@testable import NeedletailServer

@Suite("Status page")
struct StatusPageTests {
  private static let hostile = "</bdi><script>alert('1')</script>&\"\u{202E}\u{7}"

  private func status() throws -> ServerStatus {
    let model = try ModelID("wine")
    var store = StoreStatus()
    store.models = [
      ModelStatus(
        model: model, serving: ModelVersion(1),
        versions: [
          VersionStatus(
            version: ModelVersion(2)!, state: .rejected, reason: Self.hostile, digest: "", signer: "",
            sinceMilliseconds: 1_000, residentBytes: 0),
          VersionStatus(
            version: ModelVersion(1)!, state: .live, reason: "", digest: String(repeating: "ab", count: 32),
            signer: Self.hostile, sinceMilliseconds: 61_000, residentBytes: 4096),
        ],
        rollout: RolloutStatus(
          problem: Self.hostile,
          routing: ModelRouting(
            labels: [.init("stable", ModelVersion(1))],
            shares: [.init(ModelVersion(1)!, points: 9500), .init(ModelVersion(2)!, points: 500)],
            shadow: ModelVersion(2)),
          quarantined: [
            .init(version: ModelVersion(2)!, cause: .undo, reason: Self.hostile, sinceMilliseconds: 1_000)
          ]))
    ]
    store.problems = [StoreProblem(path: Self.hostile, reason: Self.hostile)]
    var traffic = VersionTraffic()
    traffic.recentRequests = 600
    traffic.recentFailed = 3
    traffic.windowMilliseconds = 60_000
    traffic.share = 1
    traffic.p99Microseconds = 1250
    traffic.points = [.init(requestsPerSecond: 10, p99Microseconds: 1250), .init(requestsPerSecond: 10)]
    let log = EventLog(capacity: 4, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }) { 1_000 }
    log.emit(
      .version, .warning, "model version rejected", model: model, version: ModelVersion(2),
      [.init("reason", Self.hostile)])
    log.emit(.version, .debug, "a step in between")
    store.models[0].versions[1].traffic = traffic
    return ServerStatus(
      version: "1", isa: "avx2", obstacle: nil, nowMilliseconds: 181_000, startedMilliseconds: 1_000,
      residentBytes: 1 << 20, allowsUnsigned: false, store: store, events: log.last(10))
  }

  @Test func foreignTextIsEscapedOnThePage() throws {
    let html = StatusPage(try status()).html
    #expect(!html.contains("<script>alert"))
    #expect(!html.contains("\u{202E}") && !html.contains("\u{7}"))
    // In the note, the table, twice of the stray file, the signer, the event, and twice of the rollout.
    let escaped = "&lt;/bdi&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;\u{FFFD}\u{FFFD}"
    #expect(html.split(separator: escaped, omittingEmptySubsequences: false).count == 9)
  }

  @Test func thePageShowsStatesTrafficAndReasons() throws {
    let html = StatusPage(try status()).html
    for text in [
      "serves version 1", ">rejected<", "100 %", "0.5 %", "1.25 ms", "2 min ago", "abababababab", "1: 95 %", "2: 5 %",
      "stable → 1", "model version rejected", "Needs attention",
    ] {
      #expect(html.contains(text), "\(text) is missing")
    }
    #expect(!html.contains("a step in between"))
  }

  @Test func columnsThatHaveMovedAskForAttention() throws {
    var status = try status()
    var drift = VersionDrift(
      model: try ModelID("wine"), version: ModelVersion(1)!, rows: 5000, columns: 14,
      moved: ["alcohol", Self.hostile, "hue", "ash"].enumerated().map {
        .init(name: $1, psi: 0.451 - 0.05 * Double($0))
      },
      warnings: 2)
    status.drift = [drift]
    let html = StatusPage(status).html
    #expect(html.contains("4 of 14 columns have moved from those of training: "))
    #expect(html.contains("alcohol (PSI 0.45), ") && html.contains(", hue (PSI 0.35) and 1 more"))
    #expect(html.contains(">4 moved<") && !html.contains("<script>alert"))
    drift.moved = []
    status.drift = [drift]
    #expect(StatusPage(status).html.contains(">2 to look at<"))
    drift.rows = 99
    status.drift = [drift]
    #expect(!StatusPage(status).html.contains("to look at"), "99 rows say nothing")
  }

  @Test func aServerThatIsNotReadySaysWhy() throws {
    var status = try status()
    status.obstacle = "the server is stopping"
    #expect(StatusPage(status).html.contains("not ready: the server is stopping"))
  }

  @Test func everyElementThatIsOpenedIsClosed() throws {
    var open: [Substring] = []
    let html = StatusPage(try status()).html.dropFirst("<!doctype html>".count)
    for tag in html.split(separator: "<").dropFirst() {
      let name = tag.prefix { $0 != " " && $0 != ">" }
      if name.hasPrefix("/") {
        #expect(open.popLast() == name.dropFirst())
      } else if !["meta", "link"].contains(name) {
        open.append(name)
      }
    }
    #expect(open.isEmpty)
  }

  @Test func aCurveScalesToItsLargestValueAndBreaksWhereNothingIsKnown() {
    #expect(Sparkline(values: [0, 10, 5], room: 3, label: "").path == "M0 26h0L60 2L120 14")
    #expect(Sparkline(values: [nil, 4, nil, 2], room: 4, label: "").path == "M40 2h0M120 14h0")
    #expect(Sparkline(values: [], room: 3, label: "").path == "")
    // A flat line of zeros lies at the bottom.
    #expect(Sparkline(values: [0, 0], room: 2, label: "").path == "M0 26h0L120 26")
  }
}
