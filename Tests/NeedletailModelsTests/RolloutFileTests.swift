import Foundation
import NeedletailCore
import NeedletailModels
import NeedletailYAML
import Testing

@Suite("Rollout file")
struct RolloutFileTests {
  private func version(_ number: UInt64) -> ModelVersion { ModelVersion(number)! }

  @Test func everyKeyOfARolloutFileIsRead() throws {
    let policy = try RolloutFile(
      parsing: """
        shadow: canary
        serve: [3, 2]
        labels: {stable: 3, canary: 4}
        split: {stable: 94.75, canary: 5.25}
        guard: {error_rate: 0.01, nan_rate: 0, latency_ratio: 1.5, window: 500ms, min_requests: 20}
        keep: 2
        """
    ).policy
    #expect(policy.serve == .versions([version(3), version(2)]))
    #expect(policy.labels == [.init("canary", version(4)), .init("stable", version(3))])
    #expect(
      policy.split == [.init("stable", version(3), points: 9475), .init("canary", version(4), points: 525)])
    #expect(policy.shadow == version(4))
    #expect(
      policy.limits
        == GuardLimits(errorRate: 0.01, nanRate: 0, latencyRatio: 1.5, windowMilliseconds: 500, minRequests: 20))
    #expect(policy.keep == 2)
    #expect(policy.experiment == nil)
    #expect(try RolloutFile(parsing: "serve: latest # for now\n").policy.serve == .latest)
    #expect(try RolloutFile(parsing: "split: {3: 50, 4: 50}").policy.split.map(\.points) == [5000, 5000])
    #expect(try RolloutFile(parsing: "guard: {nan_rate: 0, window: 2m}").policy.limits?.windowMilliseconds == 120_000)
  }

  @Test func theExampleHasEveryKey() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let text = try String(contentsOf: root.appendingPathComponent("deploy/rollout.yaml"), encoding: .utf8)
    let policy = try RolloutFile(parsing: text).policy
    #expect(policy.experiment == ExperimentSettings(metric: .accuracy, minimumEffect: 0.01))
    #expect(policy.serve != nil && policy.shadow != nil && policy.limits != nil && policy.keep == 1)
    #expect(policy.split.count == 2 && policy.labels.count == 2)
  }

  @Test func anExperimentIsReadAndWrittenBack() throws {
    let text = """
      split: {1: 50, 2: 50}
      experiment: {metric: outcome, success: 'it''s "new"', goal: lower, error: 0.01, minimum_effect: 0.02, promote: true, outcomes_max: 5000}

      """
    let policy = try RolloutFile(parsing: text).policy
    #expect(
      policy.experiment
        == ExperimentSettings(
          metric: .outcome, success: #"it's "new""#, goal: .lower, error: 0.01, minimumEffect: 0.02, promotes: true,
          outcomesMax: 5000))
    #expect(policy.yaml == text)
    let short = try RolloutFile(parsing: "split: {1: 50, 2: 50}\nexperiment: {metric: absolute_error}").policy
    #expect(short.experiment == ExperimentSettings(metric: .absoluteError))
    #expect(short.experiment?.goal == .lower && short.experiment?.error == 0.05)
    #expect(try RolloutFile(parsing: short.yaml).policy == short)
  }

  @Test(arguments: [
    ("experiment: {metric: accuracy}", "1: expected a split of at least two versions that get requests, found 0"),
    (
      "split: {1: 100, 2: 0}\nexperiment: {metric: accuracy}",
      "2: expected a split of at least two versions that get requests, found 1"
    ),
    (
      "labels: {stable: 1}\nsplit: {stable: 0, 2: 50, 3: 50}\nexperiment: {metric: accuracy}",
      "3: expected a share of the split for stable, which the others are compared with, found 0"
    ),
    ("split: {1: 50, 2: 50}\nexperiment: {error: 0.05}", "2: experiment: expected a metric, found none"),
    ("experiment: {metric: acuracy}", "1: experiment.metric: expected"),
    ("experiment: {metric: accuracy, error: 0}", "experiment.error: expected a number from 1e-06 to 0.5, found \"0\""),
    ("experiment: {metric: accuracy, minimum_effect: 1}", "expected a difference of two rates, below 1, found \"1\""),
    ("experiment: {metric: accuracy, success: a}", "expected no success beside metric: accuracy, found one"),
    ("experiment: {metric: accuracy, promote: yes}", "experiment.promote: expected true or false, found \"yes\""),
    ("experiment: {metric: accuracy, outcomes_max: 1}", "expected a whole number from 2 to 500000, found \"1\""),
    ("experiment: {metric: accuracy, promot: true}", "expected a known key, found \"promot\""),
    ("serv: 3", "1: expected a known key, found \"serv\", did you mean \"serve\"?"),
    ("serve: 3\nserve: 4", "1: expected every key once, found \"serve\" twice"),
    (
      "serve: latst",
      "1: serve: expected latest, none, a version or a list of versions, found \"latst\", did you mean \"latest\"?"
    ),
    ("serve: 0", "1: serve: expected latest, none, a version"),
    ("serve: []", "1: serve: expected 1 to 16 versions, found 0"),
    ("serve: [3, 3]", "1: serve[1]: expected every version once, found 3 twice"),
    ("keep: 1\nlabels:\n  stable: 3\n  canary: four", "4: labels.canary: expected a version, found \"four\""),
    ("labels: {3: 4}", "1: labels: expected a name of up to 64"),
    ("labels: {latest: 4}", "that is no version, found \"latest\""),
    ("labels: {stable: 3}\nsplit: {stable: 95, canry: 5}", "2: split: expected a label or a version, found \"canry\""),
    ("split: {3: 95, 4: 10}", "1: split: expected shares that sum up to 100, found 105.0"),
    ("split: {3: 99.999, 4: 0.001}", "expected at most two decimals, found \"99.999\""),
    ("split: {3: -5, 4: 105}", "expected a number from 0 to 100, found \"-5\""),
    ("split: {3: nan, 4: 5}", "found \"nan\""),
    ("labels: {a: 3}\nsplit: {a: 50, 3: 50}", "2: split: expected every version once, found 3 twice"),
    ("shadow: canary", "1: shadow: expected a version, found \"canary\""),
    ("guard: {window: 10s}", "1: guard: expected error_rate, nan_rate or latency_ratio, found none"),
    ("guard: {eror_rate: 1}", "guard: expected a known key, found \"eror_rate\", did you mean \"error_rate\"?"),
    ("guard: {nan_rate: 0, window: 1ms}", "guard.window: expected a time from 500ms to 60m, found \"1ms\""),
    ("guard: {nan_rate: 2}", "guard.nan_rate: expected a number from 0 to 1, found \"2\""),
    ("guard: {nan_rate: 0, min_requests: 0}", "expected a whole number from 1 to 1000000, found \"0\""),
    ("keep: 1.5", "keep: expected a whole number from 0 to 64, found \"1.5\""),
    ("keep: [1]", "keep: expected one value, found a list of 1"),
    ("- 3", "1: expected a mapping, found a list of 1"),
    ("serve: {", ": expected YAML"),
    ("", "1: expected a key, found none"),
    ("# nothing yet\n", "1: expected a key, found none"),
  ])
  func whatIsNotUnderstoodIsRefusedWithItsLine(_ text: String, _ message: String) {
    let error = #expect(throws: YAMLError.self) { try RolloutFile(parsing: text) }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    #expect(error?.description.hasPrefix("rollout.yaml:") == true)
  }
}
