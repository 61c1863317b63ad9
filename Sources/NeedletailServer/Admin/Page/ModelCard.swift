internal import NeedletailCore
internal import NeedletailModels

/// One model of the status page: what serves, its last minute, its rollout and its versions.
struct ModelCard {
  private let model: ModelStatus
  /// Unix time.
  private let nowMilliseconds: UInt64
  /// Recent traffic of live versions, newest version first.
  private let traffic: [VersionTraffic]
  private let drift: [VersionDrift]
  private let feedback: [VersionFeedback]
  private let experiment: ExperimentReport?

  init(
    _ model: ModelStatus, _ drift: [VersionDrift], _ feedback: [VersionFeedback], _ experiment: ExperimentReport?,
    nowMilliseconds: UInt64
  ) {
    self.model = model
    self.feedback = feedback
    self.experiment = experiment
    self.drift = drift
    self.nowMilliseconds = nowMilliseconds
    traffic = model.versions.compactMap(\.traffic)
  }

  func write(_ section: inout HTMLWriter) {
    let name = model.model.name
    section.element("article", ["class": "model", "id": "model-\(name)", "aria-labelledby": "title-\(name)"]) { card in
      card.element("h3", ["id": "title-\(name)"]) { heading in
        heading.element("span", ["class": "name"], name)
        heading.text(" ")
        if let serving = model.serving {
          heading.element("span", ["class": "serves"], "serves version \(serving)")
        } else if model.rollout.isRetired {
          heading.element("span", ["class": "badge"], "retired")
        } else {
          heading.element("span", ["class": "badge bad"], "no version is live")
        }
      }
      writeCurves(&card)
      writeRollout(&card)
      writeOutcomes(&card)
      writeVersions(&card)
    }
  }

  // MARK: the last minute

  private func writeCurves(_ card: inout HTMLWriter) {
    guard let (rates, latencies, seconds) = history else { return }
    let busiest = traffic.max { $0.recentRequests < $1.recentRequests }
    let rate = traffic.reduce(0) { $0 + $1.requestsPerSecond }
    card.element("div", ["class": "curves"]) { curves in
      curve(
        "requests/s", MessageFormat.rate(rate), "requests a second over the last \(seconds) seconds", rates,
        isFilled: true,
        &curves)
      curve(
        "p99", busiest?.p99Microseconds.map(MessageFormat.duration) ?? "–",
        "99 per cent of the answers within this time, over the last \(seconds) seconds", latencies, isFilled: false,
        &curves)
    }
  }

  private func curve(
    _ name: String, _ figure: String, _ label: String, _ values: [Double?], isFilled: Bool, _ curves: inout HTMLWriter
  ) {
    curves.element("figure") { html in
      html.element("figcaption") { caption in
        caption.element("span", [:], name)
        caption.text(" ")
        caption.element("b", [:], figure)
      }
      Sparkline(values: values, room: Limits.trafficIntervalsMax, label: label).write(&html, isFilled: isFilled)
    }
  }

  /// Requests a second of all versions, and the p99 of the version with most requests, in microseconds.
  private var history: (rates: [Double?], latencies: [Double?], seconds: UInt32)? {
    guard
      let busiest = traffic.max(by: {
        ($0.recentRequests, $0.points.count) < ($1.recentRequests, $1.points.count)
      })
    else { return nil }
    let count = traffic.map(\.points.count).max() ?? 0
    guard count > 0 else { return nil }
    var rates = [Double](repeating: 0, count: count)
    for version in traffic {
      // Histories of later versions are shorter; all of them end now.
      for (index, point) in version.points.enumerated() {
        rates[count - version.points.count + index] += point.requestsPerSecond
      }
    }
    let seconds = (traffic.map(\.windowMilliseconds).max() ?? 0) / 1000
    return (rates, busiest.points.map { $0.p99Microseconds.map(Double.init) }, seconds)
  }

  // MARK: rollout

  private func writeRollout(_ card: inout HTMLWriter) {
    let rollout = model.rollout
    let routing = rollout.routing
    let isPlain = routing.labels.isEmpty && routing.shares.isEmpty && routing.shadow == nil
    guard !isPlain || !rollout.quarantined.isEmpty || rollout.limits != nil else { return }
    card.element("dl", ["class": "rollout"]) { list in
      if !routing.shares.isEmpty {
        item("split", routing.shares.map { "\($0.version): \(Self.percent($0))" }, &list)
      }
      if !routing.labels.isEmpty {
        item("labels", routing.labels.map { "\($0.name) → \(target(of: $0))" }, &list)
      }
      if let shadow = routing.shadow { item("shadow", ["\(shadow)"], &list) }
      if rollout.limits != nil { item("guard", ["on"], &list) }
      if !rollout.quarantined.isEmpty {
        item("quarantined", rollout.quarantined.map { "\($0.version): \($0.cause.rawValue), \($0.reason)" }, &list)
      }
    }
  }

  /// The version that answers requests by a label; if none does, the version that the file names and its state.
  private func target(of label: ModelRouting.Label) -> String {
    if let version = label.version { return version.description }
    guard let wanted = model.rollout.policy.labels.first(where: { $0.name == label.name })?.version else {
      return "none"
    }
    return "none (\(wanted) \(model.version(wanted.number)?.state.description ?? "not in the store"))"
  }

  private static func percent(_ share: ModelRouting.Share) -> String {
    MessageFormat.share(Double(share.points) / Double(RoutingPoint.count))
  }

  private func item(_ name: String, _ values: [String], _ list: inout HTMLWriter) {
    list.element("div") { pair in
      pair.element("dt", [:], name)
      pair.element("dd") { list in
        for (index, value) in values.enumerated() {
          if index > 0 { list.text(" ") }
          list.element("span", ["class": "chip"], value)
        }
      }
    }
  }

  private func writeOutcomes(_ card: inout HTMLWriter) {
    guard !feedback.isEmpty || experiment != nil else { return }
    card.element("dl", ["class": "rollout"]) { list in
      if !feedback.isEmpty { item("outcomes", feedback.map { "\($0.version): \($0.sentence)" }, &list) }
      if let experiment { item("experiment", [experiment.sentence], &list) }
    }
  }

  // MARK: versions

  private func writeVersions(_ card: inout HTMLWriter) {
    card.element("table") { table in
      table.element("caption", ["class": "unseen"], "Versions of \(model.model.name)")
      table.element("thead") { head in
        head.element("tr") { row in
          for title in [
            "Version", "State", "Share", "Requests/s", "p50", "p99", "Failed", "Drift", "Memory", "Since", "Signer",
            "Digest",
          ] {
            row.element("th", ["scope": "col"], title)
          }
        }
      }
      table.element("tbody") { body in
        for version in model.versions { writeRow(version, &body) }
      }
    }
  }

  private func writeRow(_ version: VersionStatus, _ body: inout HTMLWriter) {
    let traffic = version.traffic
    let isServing = version.version == model.serving
    let id = "version-\(model.model.name)-\(version.version)"
    body.element("tr", ["id": id, "class": isServing ? "serving" : ""]) { row in
      row.element("th", ["scope": "row", "data-label": "Version"], "\(version.version)")
      row.element("td", ["data-label": "State"]) { cell in
        cell.element("span", ["class": "badge \(Self.tone(version.state))"], version.state.description)
        if isServing { cell.element("span", ["class": "unseen"], " serving") }
      }
      let asked = (traffic?.recentRequests ?? 0) > 0
      cell("Share", traffic.map { asked ? MessageFormat.share($0.share) : "–" }, &row)
      cell("Requests/s", traffic.map { MessageFormat.rate($0.requestsPerSecond) }, &row)
      cell("p50", traffic?.p50Microseconds.map(MessageFormat.duration), &row)
      cell("p99", traffic?.p99Microseconds.map(MessageFormat.duration), &row)
      cell(
        "Failed",
        traffic.map { asked ? MessageFormat.share(Double($0.recentFailed) / Double($0.recentRequests)) : "–" }, &row
      )
      cell("Drift", drift.first { $0.version == version.version }?.short, &row)
      cell("Memory", version.residentBytes > 0 ? MessageFormat.bytes(UInt64(version.residentBytes)) : nil, &row)
      row.element("td", ["data-label": "Since"]) { cell in
        PageTime(milliseconds: version.sinceMilliseconds)
          .write(MessageFormat.age(since: version.sinceMilliseconds, now: nowMilliseconds), &cell)
      }
      row.element("td", ["data-label": "Signer"]) { cell in
        // Only of a verified version is it known whether it has a signer.
        let none = version.digest.isEmpty ? "–" : "unsigned"
        cell.element("bdi", ["class": "foreign"], version.signer.isEmpty ? none : version.signer)
      }
      row.element("td", ["data-label": "Digest", "title": version.digest]) { cell in
        cell.element("code", [:], version.digest.isEmpty ? "–" : String(version.digest.prefix(12)))
      }
    }
    guard !version.reason.isEmpty else { return }
    body.element("tr", ["id": id + "-reason", "class": "reason \(Self.tone(version.state))"]) { row in
      row.element("td", ["colspan": "12"]) { $0.element("bdi", ["class": "foreign"], version.reason) }
    }
  }

  private func cell(_ label: String, _ text: String?, _ row: inout HTMLWriter) {
    row.element("td", ["data-label": label, "class": text == nil || text == "–" ? "num none" : "num"], text ?? "–")
  }

  private static func tone(_ state: VersionState) -> String {
    switch state {
    case .live: "good"
    case .rejected: "bad"
    case .incomplete: "warn"
    case .verifying, .loading, .checking, .warming: "busy"
    case .retiring, .retired: "plain"
    }
  }
}
