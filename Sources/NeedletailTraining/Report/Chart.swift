internal import Glibc
internal import NeedletailCore

/// A diagram of lines, dots or bars over two axes, drawn as SVG. Colours come from the style sheet of the page.
struct Chart {
  enum Style {
    case line
    /// A thin dashed line, for what is compared with.
    case dashed
    case dots
    /// Bars from 0 up to each point, as wide as the steps between the points.
    case bars
  }

  struct Series {
    var name: String
    var style: Style
    var points: [(x: Double, y: Double)]
    /// Number of the colour, from 0.
    var colour: Int
    /// What each point stands for, such as rows: the area of its mark. Empty: all marks are alike.
    var weights: [Double] = []

    init(_ name: String, _ style: Style = .line, colour: Int = 0, _ points: [(x: Double, y: Double)]) {
      self.name = name
      self.style = style
      self.points = points.filter { $0.x.isFinite && $0.y.isFinite }
      self.colour = colour
    }
  }

  /// Sentence for who cannot see the picture.
  var title: String
  var xLabel: String
  var yLabel: String
  var series: [Series]
  /// Bounds of an axis; nil: those of the points, with round numbers at the ends.
  var xRange: (Double, Double)?
  var yRange: (Double, Double)?
  /// Names below the axis at 0, 1, 2, … in place of numbers.
  var xNames: [String] = []
  /// Short marks on the x axis.
  var rug: [Double] = []
  /// True draws one unit of x as long as one of y.
  var isSquare = false

  // In units of the picture, about pixels.
  private static let width = 400.0
  private static let left = 52.0
  private static let right = 12.0
  private static let top = 10.0
  private static let bottom = 44.0
  private var height: Double { isSquare ? 390 : 260 }

  private struct Axis {
    var low: Double
    var high: Double
    var ticks: [Double]

    /// Round numbers at distances of 1, 2 or 5 times a power of ten.
    init(_ low: Double, _ high: Double, isFixed: Bool, steps: Double = 5) {
      var (low, high) = (low, high)
      if !(high > low) {
        let margin = max(abs(low) * 0.1, 1e-6)
        (low, high) = (low - margin, high + margin)
      }
      let raw = (high - low) / steps
      let power = pow(10, floor(log10(raw)))
      let step = ([1, 2, 5, 10].first { $0 * power >= raw * 0.999 } ?? 10) * power
      if !isFixed {
        low = floor(low / step + 1e-9) * step
        high = ceil(high / step - 1e-9) * step
      }
      self.low = low
      self.high = high
      var ticks: [Double] = []
      var tick = (low / step - 1e-9).rounded(.up)
      while tick * step <= high + step * 1e-6, ticks.count < 20 {
        // −0 would be written with its sign.
        ticks.append(tick == 0 ? 0 : tick * step)
        tick += 1
      }
      self.ticks = ticks
    }

    func place(_ value: Double) -> Double { (value - low) / (high - low) }
  }

  /// Writes the picture, its legend where there are several series.
  func write(_ html: inout HTMLWriter) {
    let points = series.flatMap(\.points)
    guard !points.isEmpty else { return }
    let hasBars = series.contains { $0.style == .bars }
    let xs = points.map(\.x)
    let ys = points.map(\.y) + (hasBars ? [0] : [])
    let x =
      xNames.isEmpty
      ? Axis(xRange?.0 ?? xs.min() ?? 0, xRange?.1 ?? xs.max() ?? 1, isFixed: xRange != nil)
      : Axis(-0.5, Double(xNames.count) - 0.5, isFixed: true)
    let y = Axis(yRange?.0 ?? ys.min() ?? 0, yRange?.1 ?? ys.max() ?? 1, isFixed: yRange != nil)
    let named = series.filter { !$0.name.isEmpty }
    if named.count > 1 {
      html.element("ul", ["class": "legend"]) { list in
        for one in named {
          list.element("li", ["class": "c\(one.colour % 6)\(one.style == .dashed ? " dashed" : "")"], one.name)
        }
      }
    }
    html.element("svg", ["viewBox": "0 0 \(Int(Self.width)) \(Int(height))", "role": "img", "aria-label": title]) {
      svg in
      frame(x, y, &svg)
      for one in series { draw(one, x, y, &svg) }
    }
  }

  private func across(_ axis: Axis, _ value: Double) -> Double {
    Self.left + axis.place(value) * (Self.width - Self.left - Self.right)
  }

  private func up(_ axis: Axis, _ value: Double) -> Double {
    height - Self.bottom - axis.place(value) * (height - Self.top - Self.bottom)
  }

  private static func text(_ value: Double) -> String {
    let rounded = (value * 10).rounded() / 10
    return rounded == rounded.rounded() ? "\(Int(rounded))" : "\(rounded)"
  }

  private func frame(_ x: Axis, _ y: Axis, _ svg: inout HTMLWriter) {
    let floor = height - Self.bottom
    for tick in y.ticks {
      let at = Self.text(up(y, tick))
      svg.element(
        "line",
        ["class": "grid", "x1": Self.text(Self.left), "x2": Self.text(Self.width - Self.right), "y1": at, "y2": at],
        "")
      svg.element(
        "text", ["class": "tick end", "x": Self.text(Self.left - 6), "y": Self.text(up(y, tick) + 4)], Self.tick(tick))
    }
    if xNames.isEmpty {
      for tick in x.ticks {
        svg.element(
          "text", ["class": "tick middle", "x": Self.text(across(x, tick)), "y": Self.text(floor + 16)], Self.tick(tick)
        )
      }
    } else {
      let every = max(1, (xNames.count + 11) / 12)
      let longest = (Self.width - Self.left - Self.right) / Double((xNames.count + every - 1) / every) / 6.5
      for (index, name) in xNames.enumerated() where index % every == 0 {
        svg.element(
          "text", ["class": "tick middle", "x": Self.text(across(x, Double(index))), "y": Self.text(floor + 16)],
          Self.shortened(name, to: max(2, Int(longest))))
      }
    }
    for mark in rug where mark >= x.low && mark <= x.high {
      let at = Self.text(across(x, mark))
      svg.element("line", ["class": "rug", "x1": at, "x2": at, "y1": Self.text(floor - 5), "y2": Self.text(floor)], "")
    }
    svg.element(
      "line",
      [
        "class": "axis", "x1": Self.text(Self.left), "x2": Self.text(Self.width - Self.right), "y1": Self.text(floor),
        "y2": Self.text(floor),
      ], "")
    svg.element(
      "text",
      ["class": "label middle", "x": Self.text((Self.left + Self.width - Self.right) / 2), "y": Self.text(height - 8)],
      xLabel)
    let middle = (Self.top + floor) / 2
    svg.element(
      "text",
      ["class": "label middle", "transform": "translate(12 \(Self.text(middle))) rotate(-90)"], yLabel)
  }

  static func shortened(_ text: String, to count: Int) -> String {
    text.count <= count ? text : text.prefix(max(1, count - 1)) + "…"
  }

  /// A number of an axis, short enough to stand before it.
  private static func tick(_ value: Double) -> String {
    switch abs(value) {
    case 0: "0"
    case 1e9...: Figures.short(value)
    case 1e6...: Figures.short(value / 1e6) + "M"
    case 1e4...: Figures.short(value / 1e3) + "k"
    default: Figures.short(value)
    }
  }

  private func draw(_ one: Series, _ x: Axis, _ y: Axis, _ svg: inout HTMLWriter) {
    let colour = "c\(one.colour % 6)"
    func at(_ point: (x: Double, y: Double)) -> (x: Double, y: Double) {
      // Points beyond a fixed axis would be drawn over its numbers.
      (across(x, min(max(point.x, x.low), x.high)), up(y, min(max(point.y, y.low), y.high)))
    }
    switch one.style {
    case .line, .dashed:
      let path = one.points.enumerated().map { index, point in
        let place = at(point)
        return "\(index == 0 ? "M" : "L")\(Self.text(place.x)) \(Self.text(place.y))"
      }.joined()
      let kind = one.style == .dashed ? " dashed" : one.weights.isEmpty ? "" : " thin"
      svg.element("path", ["class": "line \(colour)\(kind)", "d": path], "")
      if let largest = one.weights.max(), largest > 0, one.weights.count == one.points.count {
        for (point, weight) in zip(one.points, one.weights) {
          dots([at(point)], colour, radius: Self.text(2 + 8 * (weight / largest).squareRoot()), &svg)
        }
        return
      }
      if one.style == .line, one.points.count <= Self.marksMax { dots(one.points.map(at), colour, radius: "2.5", &svg) }
    case .dots:
      dots(one.points.map(at), "\(colour) faint", radius: one.points.count > 150 ? "2" : "3", &svg)
    case .bars:
      let step = one.points.count > 1 ? abs(one.points[1].x - one.points[0].x) : (x.high - x.low)
      let wide = max(1, step / (x.high - x.low) * (Self.width - Self.left - Self.right) * 0.88)
      for point in one.points {
        let (top, zero) = (at(point), up(y, max(0, y.low)))
        svg.element(
          "rect",
          [
            "class": "bar \(colour)", "x": Self.text(top.x - wide / 2), "y": Self.text(min(top.y, zero)),
            "width": Self.text(wide), "height": Self.text(max(abs(zero - top.y), 0)),
          ], "")
      }
    }
  }

  /// Most points of a line that get a mark each.
  private static let marksMax = 20

  private func dots(_ points: [(x: Double, y: Double)], _ classes: String, radius: String, _ svg: inout HTMLWriter) {
    for point in points {
      svg.element(
        "circle", ["class": "dot \(classes)", "cx": Self.text(point.x), "cy": Self.text(point.y), "r": radius], "")
    }
  }
}

extension HTMLWriter {
  /// An element without attributes that holds text.
  mutating func element(_ tag: StaticString, _ text: String) { element(tag, [:], text) }
}
