internal import NeedletailCore

/// Names of the columns, and categories of pandas.
extension LightGBMImport {
  func features(_ columns: Int) throws(TrainingError) -> [Feature] {
    let names = header.fields["feature_names"]?.split(separator: " ").map { String($0) } ?? []
    guard names.isEmpty || names.count == columns else {
      throw .importing("header: feature_names: expected \(columns) names, found \(names.count)")
    }
    let categories = try categories(names)
    return (0..<columns).map { column in
      var kind = Feature.Kind.numeric
      if let (categories, isOrdered) = categories[column] {
        // What is none of the categories is missing for LightGBM. Splits by sets send both right; splits of ordered
        // categories are numeric, where only a missing value takes its way.
        kind = .categorical(categories: categories, unknown: isOrdered ? .refuse : .zeros)
      }
      return Feature(name: names.isEmpty ? "Column_\(column)" : names[column], kind: kind, missing: .impute)
    }
  }

  /// Categories of pandas by column. The file has their lists, but says only in part to which columns they belong: its
  /// header tells the codes of a column of categories, `0:1:2`, from the bounds of one of numbers, `[0:1]`, and says
  /// `none` of a column without splits, whatever it holds. A column of codes may also be one of integers, without a list.
  private func categories(
    _ names: [String]
  ) throws(TrainingError) -> [Int: (categories: [String], isOrdered: Bool)] {
    let infos = header.fields["feature_infos"]?.split(separator: " ") ?? []
    var places: [Int] = []
    if settings.categoryColumns.isEmpty {
      let lists = infos.indices.filter { infos[$0].first != "[" && infos[$0] != "none" }
      let open = infos.indices.filter { infos[$0].first != "[" }
      places = lists.count == pandasCategories.count ? lists : onlyPlaces(for: pandasCategories, among: open, infos)
    } else {
      for name in settings.categoryColumns {
        guard let place = names.firstIndex(of: name) else {
          throw .importing("--category-columns: expected names of features, found \(name.quotedForMessage)")
        }
        places.append(place)
      }
    }
    guard pandasCategories.isEmpty || places.count == pandasCategories.count else {
      throw .importing(
        "pandas_categorical: expected a column for each of \(pandasCategories.count) lists, found \(places.count) that "
          + "may be one; --category-columns names them in the order of the data frame")
    }
    var categories: [Int: (categories: [String], isOrdered: Bool)] = [:]
    for (place, list) in zip(places, pandasCategories) {
      let codes = place < infos.count ? infos[place].split(separator: ":").compactMap { Int($0) } : []
      guard codes.allSatisfy({ $0 < list.count }) else {
        throw .importing(
          "feature_infos, column \(place): expected codes of \(list.count) categories, found \(codes.max() ?? 0); "
            + "--category-columns names the columns of pandas_categorical in the order of the data frame")
      }
      categories[place] = (list, place < infos.count && infos[place].first == "[")
    }
    return categories
  }

  /// The columns of the lists, if their order and their codes leave one possibility; else all columns that may be one.
  ///
  /// Lists stand in the order of their columns, and a code is below the number of its list's categories. If each list
  /// takes the first column that it can, and then from the other end the last, and both agree, no other way exists.
  private func onlyPlaces(for lists: [[String]], among open: [Int], _ infos: [Substring]) -> [Int] {
    let codesMax = open.map { place in infos[place].split(separator: ":").compactMap { Int($0) }.max() ?? -1 }
    func taken(_ lists: [[String]], _ columns: [Int]) -> [Int] {
      var places: [Int] = []
      for column in columns where places.count < lists.count && codesMax[column] < lists[places.count].count {
        places.append(open[column])
      }
      return places
    }
    let first = taken(lists, Array(open.indices))
    let last = Array(taken(lists.reversed(), open.indices.reversed()).reversed())
    return first.count == lists.count && first == last ? first : open
  }
}
