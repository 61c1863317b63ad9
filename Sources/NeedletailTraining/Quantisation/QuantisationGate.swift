internal import NeedletailCore

/// Decides which layers may be int8: none that costs more than the run allows.
///
/// Pure: how a set of layers performs is asked of the caller, who measures it on the engine. All layers
/// first; then the last layer alone goes back to fp32, for its rounding reaches the answers undamped; then
/// one after the other, the most damaging first.
struct QuantisationGate {
  /// How a choice of int8 layers performs against fp32.
  struct Measurement: Equatable {
    /// Points lost on validation or test rows, whichever is more; negative where int8 is better.
    var lossPoints: Double
    /// Mean |difference| of the answers on calibration rows.
    var deviation: Double
  }

  struct Decision: Equatable {
    /// Dense nodes that become int8; empty: fp32.
    var int8Layers: Set<Int>
    var measurement: Measurement?
    /// One sentence for people and for the lineage.
    var reason: String
  }

  /// Fewer weights than this fit in L1 either way.
  static let weightsMinForAutomatic = 4096

  let settings: RunConfiguration.Quantisation
  let familyGains: Bool

  func decide<Failure>(
    layers: [Int], weightCount: Int, names: (Int) -> String,
    measure: (Set<Int>) throws(Failure) -> Measurement
  ) throws(Failure) -> Decision {
    if settings.precision == .fp32 { return fp32("fp32 as configured") }
    if layers.isEmpty { return fp32("fp32: no layer to quantise") }
    if settings.precision == .automatic {
      if !familyGains { return fp32("fp32: int8 has nothing to gain in a linear model") }
      if weightCount < Self.weightsMinForAutomatic {
        return fp32(
          "fp32: int8 has nothing to gain below \(Figures.count(Self.weightsMinForAutomatic)) weights, found \(weightCount)"
        )
      }
    }

    var chosen = Set(layers)
    let whole = try measure(chosen)
    if passes(whole) {
      return Decision(
        int8Layers: chosen, measurement: whole, reason: "int8 in all \(layers.count) layers: \(sentence(whole))")
    }
    for layer in try fallbackOrder(layers, measure) {
      chosen.remove(layer)
      if chosen.isEmpty { break }
      let found = try measure(chosen)
      if passes(found) {
        let kept = layers.filter { !chosen.contains($0) }.map(names).joined(separator: ", ")
        return Decision(
          int8Layers: chosen, measurement: found,
          reason: "int8 in \(chosen.count) of \(layers.count) layers, fp32 in \(kept): \(sentence(found))")
      }
    }
    return Decision(
      int8Layers: [], measurement: nil, reason: "fp32: int8 \(sentence(whole)), and no choice of layers passed")
  }

  private func fallbackOrder<Failure>(
    _ layers: [Int], _ measure: (Set<Int>) throws(Failure) -> Measurement
  ) throws(Failure) -> [Int] {
    guard layers.count > 1, let last = layers.last else { return layers }
    var damages: [(layer: Int, deviation: Double)] = []
    for layer in layers.dropLast() { damages.append((layer, try measure([layer]).deviation)) }
    return [last] + damages.sorted { ($0.deviation, $0.layer) > ($1.deviation, $1.layer) }.map(\.layer)
  }

  private func passes(_ measurement: Measurement) -> Bool {
    measurement.lossPoints <= settings.lossPointsMax + 1e-9
  }

  private func sentence(_ measurement: Measurement) -> String {
    let change =
      measurement.lossPoints > 0
      ? "loses \(Figures.fixed(measurement.lossPoints, 2)) points" : "loses nothing"
    return
      "\(change) (\(Figures.short(settings.lossPointsMax)) allowed), mean deviation \(Figures.short(measurement.deviation))"
  }

  private func fp32(_ reason: String) -> Decision {
    Decision(int8Layers: [], measurement: nil, reason: reason)
  }
}
