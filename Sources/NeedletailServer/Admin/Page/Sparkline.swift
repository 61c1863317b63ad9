internal import NeedletailCore

/// A small curve of the last minute, drawn as SVG. Figures stand beside it as text; the curve only shows how they changed.
struct Sparkline {
  /// Oldest first; nil where there is nothing to draw.
  let values: [Double?]
  /// Number of points that fill the width; fewer values stand at the right.
  let room: Int
  /// Words for a screen reader.
  let label: String

  private static let width = 120.0
  private static let height = 28.0

  /// - Parameter isFilled: true for counts; measurements are a line alone.
  func write(_ html: inout HTMLWriter, isFilled: Bool) {
    let attributes: HTMLWriter.Attributes = [
      "class": "spark", "viewBox": "0 0 120 28", "preserveAspectRatio": "none", "role": "img", "aria-label": label,
    ]
    html.element("svg", attributes) { svg in
      let line = path
      guard !line.isEmpty else { return }
      if isFilled, let first = points.first, let last = points.last {
        let area =
          line + "L\(Self.text(last.x)) \(Self.text(Self.height))L\(Self.text(first.x)) \(Self.text(Self.height))Z"
        svg.element("path", ["class": "area", "d": area], "")
      }
      svg.element("path", ["class": "line", "d": line, "vector-effect": "non-scaling-stroke"], "")
    }
  }

  /// Runs of neighbouring values, each one line.
  var path: String {
    var path = ""
    var isOpen = false
    for (point, value) in zip(allPoints, values) {
      guard value != nil else {
        isOpen = false
        continue
      }
      let position = "\(Self.text(point.x)) \(Self.text(point.y))"
      // A single value is a dot: a line of no length has round ends.
      path += isOpen ? "L\(position)" : "M\(position)h0"
      isOpen = true
    }
    return path
  }

  private var points: [(x: Double, y: Double)] { zip(allPoints, values).filter { $1 != nil }.map(\.0) }

  private var allPoints: [(x: Double, y: Double)] {
    let top = max(values.lazy.compactMap(\.self).max() ?? 0, .leastNonzeroMagnitude)
    let step = Self.width / Double(max(1, room - 1))
    let start = Self.width - step * Double(values.count - 1)
    // Two units at each edge, so that the line is not cut in half.
    return values.enumerated().map { index, value in
      (start + step * Double(index), Self.height - 2 - (Self.height - 4) * ((value ?? 0) / top))
    }
  }

  private static func text(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths < 0 ? "-" : "")\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }
}
