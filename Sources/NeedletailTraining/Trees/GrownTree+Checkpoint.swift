internal import CNeedletailTraining

/// A tree as part of a checkpoint.
extension GrownTree {
  /// Adds what ``init(_:features:leavesMax:width:)`` reads.
  func write(_ writer: inout ByteWriter) {
    writer.add(UInt64(steps.count))
    for (step, record) in zip(steps, records) {
      let members = step.members
      let numbers: [UInt64] = [
        UInt64(step.column), UInt64(UInt32(bitPattern: step.left)), UInt64(UInt32(bitPattern: step.right)), members.0,
        members.1, members.2, members.3, UInt64(record.feature), record.gain.bitPattern,
        UInt64(bitPattern: Int64(record.bin)), record.missingGoesLeft ? 1 : 0,
      ]
      for number in numbers { writer.add(number) }
    }
    writer.add(UInt64(values.count))
    for value in values { writer.add(UInt64(value.bitPattern)) }
    writer.add(UInt64(counts.count))
    for count in counts { writer.add(UInt64(count)) }
  }

  /// - Parameter width: numbers of a leaf.
  /// - Returns: nil for bytes that are no tree of so many features: its steps are walked without further checks.
  init?(_ reader: inout ByteReader, features: Int, leavesMax: Int, width: Int = 1) {
    guard let stepCount = reader.count(), stepCount < max(leavesMax, 1) else { return nil }
    for place in 0..<stepCount {
      let numbers = (0..<11).compactMap { _ in reader.number() }
      guard numbers.count == 11, numbers[0] < UInt64(features), numbers[7] < UInt64(features),
        let left = UInt32(exactly: numbers[1]), let right = UInt32(exactly: numbers[2]),
        let bin = Int(exactly: Int64(bitPattern: numbers[9])), (-1...Int(UInt16.max)).contains(bin)
      else { return nil }
      for child in [Int32(bitPattern: left), Int32(bitPattern: right)] {
        // Children stand behind their parent, so that a walk ends.
        guard child >= 0 ? Int(child) > place && Int(child) < stepCount : Int(~child) <= stepCount else { return nil }
      }
      var step = nt_boost_step()
      step.column = UInt32(numbers[0])
      step.left = Int32(bitPattern: left)
      step.right = Int32(bitPattern: right)
      step.members = (numbers[3], numbers[4], numbers[5], numbers[6])
      steps.append(step)
      records.append(
        Record(
          feature: Int(numbers[7]), gain: Double(bitPattern: numbers[8]), bin: bin, missingGoesLeft: numbers[10] == 1))
    }
    guard reader.count() == (stepCount + 1) * width else { return nil }
    for _ in 0..<((stepCount + 1) * width) {
      guard let bits = reader.number().flatMap(UInt32.init(exactly:)) else { return nil }
      values.append(Float(bitPattern: bits))
    }
    guard reader.count() == stepCount + 1 else { return nil }
    for _ in 0...stepCount {
      guard let count = reader.count() else { return nil }
      counts.append(count)
    }
  }
}
