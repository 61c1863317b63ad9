internal import NeedletailCore
internal import NeedletailModels

/// The status page as HTML, complete and readable without a script: the script only asks for the page again and changes
/// what has changed. Foreign text goes through ``HTMLWriter`` and nowhere else.
struct StatusPage {
  private let status: ServerStatus

  /// Events on the page, newest first.
  static let eventsMax = 50

  init(_ status: ServerStatus) { self.status = status }

  var html: String {
    var page = HTMLWriter()
    let title = "\(status.obstacle == nil ? "ready" : "not ready") · needletail"
    page.element("html", ["lang": "en"]) { html in
      html.element("head") { head in
        head.void("meta", ["charset": "utf-8"])
        head.void("meta", ["name": "viewport", "content": "width=device-width, initial-scale=1"])
        head.void("meta", ["name": "color-scheme", "content": "light dark"])
        head.element("title", [:], title)
        head.void("link", ["rel": "icon", "href": "data:,"])
        head.void("link", ["rel": "stylesheet", "href": "status.css"])
        head.element("script", ["src": "status.js", "defer": ""], "")
      }
      html.element("body") { body in
        body.element("a", ["class": "skip", "href": "#models"], "Skip to models")
        writeHeader(&body)
        body.element("main", ["id": "main"]) { main in
          writeAttention(&main)
          writeModels(&main)
          writeEvents(&main)
        }
        writeFooter(&body)
      }
    }
    return "<!doctype html>\n" + page.html + "\n"
  }

  // MARK: head and foot

  private func writeHeader(_ body: inout HTMLWriter) {
    body.element("header", ["id": "top"]) { header in
      header.element("h1") { heading in
        heading.element("span", ["class": "name"], "needletail")
        heading.text(" ")
        heading.element(
          "span", ["class": "badge \(status.obstacle == nil ? "good" : "bad")", "id": "readiness"],
          status.obstacle.map { "not ready: \($0)" } ?? "ready")
      }
      let rate = status.store.models.flatMap(\.versions).reduce(0) { $0 + ($1.traffic?.requestsPerSecond ?? 0) }
      let serving = status.store.models.count { $0.serving != nil }
      header.element("dl", ["class": "facts"]) { facts in
        fact("models serving", "\(serving) of \(status.store.models.count)", &facts)
        fact("requests/s", MessageFormat.rate(rate), &facts)
        if let bytes = status.residentBytes { fact("memory", MessageFormat.bytes(bytes), &facts) }
        fact("started", MessageFormat.age(since: status.startedMilliseconds, now: status.nowMilliseconds), &facts)
        fact("version", "\(status.version) on \(status.isa)", &facts)
      }
      // The script fills it when the server stops answering.
      header.element("p", ["id": "connection", "role": "status"], "")
    }
  }

  private func fact(_ name: String, _ value: String, _ facts: inout HTMLWriter) {
    facts.element("div") {
      $0.element("dt", [:], name)
      $0.element("dd", [:], value)
    }
  }

  private func writeFooter(_ body: inout HTMLWriter) {
    body.element("footer", ["id": "foot"]) { footer in
      footer.element("nav", ["aria-label": "For programs"]) { nav in
        for path in ["status.json", "events", "metrics", "readyz", "livez"] {
          nav.element("a", ["href": path], path)
          nav.text(" ")
        }
      }
      footer.element("p") { line in
        line.text("As of ")
        let now = PageTime(milliseconds: status.nowMilliseconds)
        now.write(now.timestamp, &line)
      }
    }
  }

  // MARK: attention

  /// Everything that somebody has to look at, with its reason in words, before any table.
  private func writeAttention(_ main: inout HTMLWriter) {
    let troubled = status.store.models.flatMap { model in
      model.versions.filter { $0.state == .rejected || ($0.state == .live && !$0.reason.isEmpty) }
        .map { (model.model, $0) }
    }
    let rollouts = status.store.models.filter { !$0.rollout.fileProblem.isEmpty }
    let moved = status.drift.compactMap { drift in drift.sentence.map { (drift, $0) } }
    let worse = status.feedback.filter { $0.isWorse == true }
    guard
      !troubled.isEmpty || !rollouts.isEmpty || !moved.isEmpty || !worse.isEmpty || !status.store.problems.isEmpty
        || status.allowsUnsigned
    else { return }
    main.element("section", ["id": "attention", "aria-labelledby": "attention-title"]) { section in
      section.element("h2", ["id": "attention-title"], "Needs attention")
      section.element("ul", ["class": "notes"]) { list in
        for (model, version) in troubled {
          list.element("li", ["class": version.state == .rejected ? "bad" : "warn"]) { item in
            item.element("a", ["href": "#model-\(model.name)"], "\(model.name) \(version.version)")
            item.text(version.state == .rejected ? " rejected: " : ": ")
            item.element("bdi", ["class": "foreign"], version.reason)
          }
        }
        for (drift, sentence) in moved {
          list.element("li", ["class": "warn"]) { item in
            item.element("a", ["href": "#model-\(drift.model.name)"], "\(drift.model.name) \(drift.version)")
            item.text(": " + sentence.text)
            item.element("bdi", ["class": "foreign"], sentence.names)
          }
        }
        for feedback in worse {
          list.element("li", ["class": "warn"]) { item in
            item.element("a", ["href": "#model-\(feedback.model.name)"], "\(feedback.model.name) \(feedback.version)")
            item.text(" is worse than expected: " + feedback.sentence)
          }
        }
        for model in rollouts {
          list.element("li", ["class": "warn"]) { item in
            item.element("a", ["href": "#model-\(model.model.name)"], model.model.name)
            item.text(model.rollout.problem.isEmpty ? ": " : " rollout.yaml is not in force: ")
            item.element("bdi", ["class": "foreign"], model.rollout.fileProblem)
          }
        }
        for problem in status.store.problems.prefix(Self.problemsMax) {
          list.element("li", ["class": "warn"]) { item in
            item.text("store: ")
            item.element("bdi", ["class": "foreign"], problem.path.isEmpty ? "." : problem.path)
            item.text(": ")
            item.element("bdi", ["class": "foreign"], problem.reason)
          }
        }
        let more = status.store.problems.count - Self.problemsMax
        if more > 0 { list.element("li", ["class": "warn"], "\(more) more files in the store are no bundles") }
        if status.allowsUnsigned {
          list.element("li", ["class": "warn"], "unsigned bundles are allowed: whoever can write to the store decides")
        }
      }
    }
  }

  private static let problemsMax = 20

  // MARK: events

  private func writeEvents(_ main: inout HTMLWriter) {
    main.element("section", ["id": "events", "aria-labelledby": "events-title"]) { section in
      section.element("h2", ["id": "events-title"], "Events")
      let events = status.events.events.filter { $0.severity > .debug }.suffix(Self.eventsMax).reversed()
      guard !events.isEmpty else {
        section.element("p", ["class": "empty"], "Nothing has happened yet.")
        return
      }
      section.element("ol", ["class": "events", "reversed": ""]) { list in
        for event in events { write(event, &list) }
      }
    }
  }

  private func write(_ event: Event, _ list: inout HTMLWriter) {
    list.element("li", ["id": "event-\(event.sequence)", "class": Self.tone(event.severity)]) { item in
      let time = PageTime(milliseconds: event.milliseconds)
      time.write(time.clock, &item)
      item.text(" ")
      if event.severity >= .warning {
        item.element("strong", ["class": "severity"], event.severity.rawValue)
        item.text(" ")
      }
      if let model = event.model {
        item.element("b", [:], model.name + (event.version.map { " \($0)" } ?? ""))
        item.text(" ")
      }
      item.element("span", [:], event.message)
      for fact in event.facts where !fact.value.isEmpty && fact.name != "state" {
        item.text(" ")
        item.element("span", ["class": "fact"]) { text in
          text.text("\(fact.name) ")
          text.element("bdi", ["class": "foreign"], fact.value)
        }
      }
    }
  }

  static func tone(_ severity: Event.Severity) -> String {
    switch severity {
    case .error: "bad"
    case .warning: "warn"
    case .notice: "good"
    case .info, .debug: "plain"
    }
  }

  // MARK: models

  private func writeModels(_ main: inout HTMLWriter) {
    main.element("section", ["id": "models", "aria-labelledby": "models-title", "tabindex": "-1"]) { section in
      section.element("h2", ["id": "models-title"], "Models")
      if status.store.models.isEmpty {
        section.element("p", ["class": "empty"], "The store holds no models. Drop a bundle at MODEL/VERSION.ntb.")
      }
      for model in status.store.models {
        let drift = status.drift.filter { $0.model == model.model }
        let feedback = status.feedback.filter { $0.model == model.model }
        let experiment = status.experiments.first { $0.model == model.model }
        ModelCard(model, drift, feedback, experiment, nowMilliseconds: status.nowMilliseconds).write(&section)
      }
    }
  }
}
