/// Places values in one arena so that two share bytes only if they never live at the same time.
struct MemoryPlanner {
  /// One value: its size and the steps between which its bytes must stay untouched, both inclusive.
  struct Request: Equatable {
    var bytes: Int
    var firstStep: Int
    var lastStep: Int
  }

  struct Layout: Equatable {
    /// Offset of each request, aligned.
    var offsets: [Int]
    var bytes: Int
  }

  static let alignment = 64

  /// Largest first, each at the lowest offset that is free for its whole life: the greedy by size of
  /// Pisarchyk and Lee, "Efficient memory management for deep neural net inference" (2020).
  ///
  /// - Complexity: O(requests²).
  static func plan(_ requests: [Request]) -> Layout {
    var layout = Layout(offsets: Array(repeating: 0, count: requests.count), bytes: 0)
    let order = requests.indices.sorted { (requests[$0].bytes, $1) > (requests[$1].bytes, $0) }
    /// Sorted by offset, so that gaps are found in one pass.
    var placed: [(offset: Int, end: Int, index: Int)] = []
    for index in order {
      let request = requests[index]
      let size = aligned(request.bytes)
      var offset = 0
      for other in placed where overlap(requests[other.index], request) {
        if other.offset >= offset + size { break }
        offset = max(offset, other.end)
      }
      layout.offsets[index] = offset
      layout.bytes = max(layout.bytes, offset + size)
      let position = placed.firstIndex { $0.offset > offset } ?? placed.endIndex
      placed.insert((offset, offset + size, index), at: position)
    }
    return layout
  }

  static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }

  private static func overlap(_ a: Request, _ b: Request) -> Bool {
    a.firstStep <= b.lastStep && b.firstStep <= a.lastStep
  }
}
