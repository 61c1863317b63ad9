import NeedletailCore
import NeedletailMetrics
import Testing

@testable import NeedletailModels

@Suite("Gauges of the status")
struct StatusMetricsTests {
  private let metrics = MetricsRegistry(shards: 1)
  private let wine = try! ModelID("wine")

  private func status(_ versions: [VersionStatus], serving: UInt64? = nil) -> StoreStatus {
    var status = StoreStatus()
    status.models = [ModelStatus(model: wine, serving: serving.flatMap { ModelVersion($0) }, versions: versions)]
    return status
  }

  private func version(_ number: UInt64, _ state: VersionState, residentBytes: Int = 0) -> VersionStatus {
    VersionStatus(
      version: ModelVersion(number)!, state: state, reason: "", digest: "", signer: "", sinceMilliseconds: 1,
      residentBytes: residentBytes)
  }

  /// The lines of the store's gauges, without comments.
  private var lines: [String] {
    metrics.render().split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
  }

  @Test func showTheStateThatAVersionIsInAndNoOther() {
    var gauges = StatusMetrics(metrics)
    gauges.show(status([version(1, .verifying)]))
    gauges.show(status([version(1, .live, residentBytes: 64)], serving: 1))
    #expect(
      lines == [
        "needletail_model_resident_bytes{model=\"wine\",version=\"1\"} 64",
        "needletail_model_serving{model=\"wine\"} 1",
        "needletail_model_version_state{model=\"wine\",state=\"live\",version=\"1\"} 1",
        "needletail_serving_version{model=\"wine\"} 1", "needletail_store_problems 0", "needletail_store_ready 0",
        "needletail_traffic_share{model=\"wine\",version=\"1\"} 0",
      ])
  }

  @Test func dropEverySeriesOfAVersionThatIsRetiredCountersIncluded() {
    var gauges = StatusMetrics(metrics)
    gauges.show(status([version(2, .live, residentBytes: 1), version(1, .retiring, residentBytes: 1)], serving: 2))
    metrics.counter("needletail_rows_total", help: "", labels: [("model", "wine"), ("version", "1")]).add()
    gauges.show(status([version(2, .live, residentBytes: 1), version(1, .retired)], serving: 2))
    #expect(!lines.contains { $0.contains("version=\"1\"") })
    #expect(lines.contains("needletail_model_version_state{model=\"wine\",state=\"live\",version=\"2\"} 1"))
  }

  @Test func dropEverySeriesOfAModelThatIsGone() {
    var gauges = StatusMetrics(metrics)
    gauges.show(status([version(1, .rejected)]))
    gauges.show(StoreStatus())
    #expect(lines == ["needletail_store_problems 0", "needletail_store_ready 0"])
  }

  @Test func sayWhichModelsServeNothingAndLeaveRetiredOnesOut() {
    var gauges = StatusMetrics(metrics)
    gauges.show(status([version(1, .rejected)]))
    #expect(lines.contains("needletail_model_serving{model=\"wine\"} 0"))
    gauges.show(status([version(1, .live)], serving: 1))
    #expect(lines.contains("needletail_model_serving{model=\"wine\"} 1"))
    var retired = status([version(1, .retired)])
    retired.models[0].rollout.policy.serve = .nothing
    gauges.show(retired)
    #expect(!lines.contains { $0.hasPrefix("needletail_model_serving") })
  }

  @Test func endAnAlarmWithItsCause() {
    var gauges = StatusMetrics(metrics)
    var revoked = version(1, .live)
    revoked.isTrusted = false
    var before = status([revoked], serving: 1)
    before.models[0].rollout.problem = "line 2"
    before.models[0].rollout.file = "serve: 1"
    before.models[0].rollout.isFileMissing = true
    before.problems = [StoreProblem(path: "stray", reason: "no bundle")]
    gauges.show(before)
    let alarms = [
      "needletail_model_untrusted{model=\"wine\",version=\"1\"} 1",
      "needletail_rollout_file_invalid{model=\"wine\"} 1", "needletail_store_problems 1",
      "needletail_rollout_file_missing{model=\"wine\"} 1",
    ]
    #expect(alarms.allSatisfy(lines.contains))
    var after = status([version(1, .live)], serving: 1)
    after.models[0].rollout.file = "serve: 1"
    gauges.show(after)
    #expect(!lines.contains { $0.hasPrefix("needletail_model_untrusted") })
    #expect(!lines.contains { $0.hasPrefix("needletail_rollout_file_missing") })
    #expect(lines.contains("needletail_rollout_file_invalid{model=\"wine\"} 0"))
    #expect(lines.contains("needletail_store_problems 0"))
  }
}
