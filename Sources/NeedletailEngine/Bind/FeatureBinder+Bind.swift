public import NeedletailCore

extension FeatureBinder {
  /// Binds some rows of a request; ``rows(of:rowsMax:)`` must have passed for the same tensors.
  ///
  /// Allocates only where it throws.
  /// - Parameter row0: room for `rows.count × features` floats; row `rows.lowerBound` comes first.
  /// - Throws: `.invalidArgument` naming feature, row, what was expected and what was found.
  public func bind(_ tensors: UnsafeBufferPointer<TensorView>, rows: Range<Int>, into row0: UnsafeMutablePointer<Float>)
    throws(ServingError)
  {
    if let tensor = denseTensor(tensors) {
      if tensor.type == .float32 {
        try bindDenseFloats(tensor, rows: rows, into: row0)
      } else {
        try bindDense(tensor, rows: rows, into: row0)
      }
      return
    }
    for position in 0..<tensors.count {
      let tensor = tensors[position]
      guard let feature = feature(named: tensor.name, hint: position) else { throw unknownInput(tensor.name) }
      let column = columns[feature]
      for row in rows {
        row0[(row - rows.lowerBound) * count + feature] = try bound(tensor, element: row, column, feature, row: row)
      }
    }
  }

  /// Binds one row of cells, in schema order.
  ///
  /// - Parameter row: the number that messages name.
  /// - Throws: `.invalidArgument` naming feature, row, what was expected and what was found.
  public func bind(_ cells: [Cell], row: Int = 0, into row0: UnsafeMutablePointer<Float>) throws(ServingError) {
    guard cells.count == count else {
      throw .invalidArgument("row \(row): expected \(count) cells, found \(cells.count)")
    }
    for (feature, cell) in cells.enumerated() {
      let column = columns[feature]
      let result: Result<Float, CellFault>
      switch cell {
      case .number(let number): result = column.bind(number: number)
      case .missing: result = column.missing
      case .text(var text): result = text.withUTF8 { column.bind(text: UnsafeRawBufferPointer($0)) }
      }
      switch result {
      case .success(let value): row0[feature] = value
      case .failure(let fault): throw error(fault, feature: feature, row: row, found: cell)
      }
    }
  }

  /// The common case on its own: finite fp32 for numeric features is copied as it comes.
  private func bindDenseFloats(
    _ tensor: TensorView, rows: Range<Int>, into row0: UnsafeMutablePointer<Float>
  ) throws(ServingError) {
    // Nearly always nothing is left to look at one by one.
    if isNumeric, let data = tensor.data.baseAddress {
      let elements = rows.count * count
      UnsafeMutableRawPointer(row0).copyMemory(
        from: data + rows.lowerBound * count * MemoryLayout<Float>.size, byteCount: elements * MemoryLayout<Float>.size)
      if NonFinite.count(row0, count: elements) == 0 { return }
    }
    for row in rows {
      let to = row0 + (row - rows.lowerBound) * count
      for feature in 0..<count {
        let element = row * count + feature
        let value = tensor.data.loadUnaligned(fromByteOffset: 4 * element, as: Float.self)
        if value.isFinite, !columns[feature].isCategorical {
          to[feature] = value
        } else {
          to[feature] = try bound(tensor, element: element, columns[feature], feature, row: row)
        }
      }
    }
  }

  private func bindDense(
    _ tensor: TensorView, rows: Range<Int>, into row0: UnsafeMutablePointer<Float>
  ) throws(ServingError) {
    for row in rows {
      let to = row0 + (row - rows.lowerBound) * count
      for feature in 0..<count {
        to[feature] = try bound(tensor, element: row * count + feature, columns[feature], feature, row: row)
      }
    }
  }

  /// One element of a tensor, bound.
  @inline(__always)
  private func bound(
    _ tensor: TensorView, element: Int, _ column: FeatureColumn, _ feature: Int, row: Int
  ) throws(ServingError) -> Float {
    let result =
      switch tensor.number(at: element) {
      case .success(let number)?: column.bind(number: number)
      case .failure(let fault)?: Result<Float, CellFault>.failure(fault)
      case nil: column.bind(text: tensor.strings[element])
      }
    switch result {
    case .success(let value): return value
    case .failure(let fault): throw error(fault, feature: feature, row: row, found: tensor.cell(at: element))
    }
  }
}

extension TensorView {
  /// One element as a number; nil where elements are text. The byte count has been checked.
  @inline(__always)
  fileprivate func number(at element: Int) -> Result<Double, CellFault>? {
    switch type {
    case .float32: .success(Double(load(element, as: Float.self)))
    case .float64: .success(load(element, as: Double.self))
    case .int8: .success(Double(load(element, as: Int8.self)))
    case .int16: .success(Double(Int16(littleEndian: load(element, as: Int16.self))))
    case .int32: .success(Double(Int32(littleEndian: load(element, as: Int32.self))))
    case .int64: .success(Double(Int64(littleEndian: load(element, as: Int64.self))))
    case .uint8: .success(Double(load(element, as: UInt8.self)))
    case .bool:
      switch load(element, as: UInt8.self) {
      case 0: .success(0)
      case 1: .success(1)
      default: .failure(.notABool)
      }
    case .string, nil: nil
    }
  }

  /// One element as a message shows it.
  fileprivate func cell(at element: Int) -> Cell {
    if type == .bool { return .number(Double(load(element, as: UInt8.self))) }
    if case .success(let number)? = number(at: element) { return .number(number) }
    return .text(textForMessage(strings[element]))
  }

  @inline(__always)
  private func load<Element: BitwiseCopyable>(_ element: Int, as type: Element.Type) -> Element {
    data.loadUnaligned(fromByteOffset: element * MemoryLayout<Element>.size, as: type)
  }
}
