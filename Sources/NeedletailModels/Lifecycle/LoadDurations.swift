internal import NeedletailMetrics

/// How long each phase of loading takes.
struct LoadDurations: Sendable {
  let read: Histogram
  let verify: Histogram
  let decode: Histogram
  let choose: Histogram
  let compile: Histogram
  let check: Histogram
  let warm: Histogram

  init(_ metrics: MetricsRegistry) {
    func phase(_ name: String) -> Histogram {
      metrics.histogram(
        "needletail_bundle_load_seconds", help: "How long loading a bundle took, by phase.",
        labels: [("phase", name)], buckets: [1e-4, 1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1, 5, 10, 60])
    }
    read = phase("read")
    verify = phase("verify")
    decode = phase("decode")
    choose = phase("choose")
    compile = phase("compile")
    check = phase("check")
    warm = phase("warm")
  }
}
