internal import NeedletailEngine

extension MessageValues {
  /// A foreign number that must fit an `Int`.
  static func count(_ value: UInt64, _ field: @autoclosure () -> String) throws(BundleError) -> Int {
    guard let count = Int(exactly: value) else {
      throw BundleError(.oversized, "\(field()): expected at most \(Int.max), found \(value)")
    }
    return count
  }

  /// A foreign enumeration value, by the raw value of its Swift twin.
  static func enumeration<Value: RawRepresentable & CaseIterable>(
    _ number: UInt32, as type: Value.Type, _ field: @autoclosure () -> String
  ) throws(BundleError) -> Value where Value.RawValue == UInt8 {
    do throws(GraphFault) {
      return try known(number, as: type, field())
    } catch {
      throw BundleError(error)
    }
  }
}

extension BundleError {
  init(_ fault: GraphFault) {
    switch fault.kind {
    case .tooFew: self.init(.malformed, fault.message)
    case .tooMany: self.init(.oversized, fault.message)
    case .mismatch: self.init(.invalidGraph, fault.message)
    case .unsupported: self.init(.unsupported, fault.message)
    }
  }
}
