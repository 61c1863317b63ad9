/// Counts NaN and infinities among numbers.
public enum NonFinite {
  /// - Parameter count: below 2³².
  /// - Complexity: O(count). All bits of the exponent are set in what is no finite number, so one more in
  ///   its last place carries into the sign: no branch, no comparison, and the compiler takes eight at once.
  public static func count(_ values: UnsafePointer<Float>, count: Int) -> Int {
    var found: UInt32 = 0
    for index in 0..<count {
      found &+= (values[index].bitPattern & 0x7fff_ffff &+ 0x0080_0000) &>> 31
    }
    return Int(found)
  }
}
