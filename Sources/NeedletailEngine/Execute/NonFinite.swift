/// Counts NaN and infinities among numbers.
public enum NonFinite {
  /// - Complexity: O(count), branch-free: x − x is 0 for every finite x and NaN for all others.
  public static func count(_ values: UnsafePointer<Float>, count: Int) -> Int {
    var found = 0
    for index in 0..<count {
      let difference = values[index] - values[index]
      found &+= difference == 0 ? 0 : 1
    }
    return found
  }
}
