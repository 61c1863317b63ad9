/// A queue with two ends and a fixed number of places: nothing is allocated after its start.
struct BoundedRing<Element: BitwiseCopyable>: ~Copyable {
  private let places: UnsafeMutablePointer<Element>
  let capacity: Int
  private var head = 0
  private(set) var count = 0

  init(capacity: Int) {
    precondition(capacity > 0, "a ring needs a place")
    self.capacity = capacity
    places = .allocate(capacity: capacity)
  }

  deinit { places.deallocate() }

  var isEmpty: Bool { count == 0 }

  /// The oldest element.
  var first: Element? { count == 0 ? nil : places[head] }

  /// The newest element.
  var last: Element? { count == 0 ? nil : places[index(count - 1)] }

  /// - Returns: false if every place is taken.
  mutating func append(_ element: Element) -> Bool {
    guard count < capacity else { return false }
    (places + index(count)).initialize(to: element)
    count += 1
    return true
  }

  mutating func popFirst() -> Element? {
    guard let element = first else { return nil }
    head = index(1)
    count -= 1
    return element
  }

  mutating func popLast() -> Element? {
    guard let element = last else { return nil }
    count -= 1
    return element
  }

  private func index(_ offset: Int) -> Int {
    let index = head + offset
    return index < capacity ? index : index - capacity
  }
}
