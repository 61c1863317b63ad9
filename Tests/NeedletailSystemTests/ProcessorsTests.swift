import Foundation
import NeedletailTestSupport
import Testing

@testable import NeedletailSystem

@Suite("Processors of the process")
struct ProcessorsTests {
  /// A process of ten processors in the control groups of `groups`, whose files are `files`.
  private func count(groups: String, files: [String: String]) throws -> Int {
    let directory = try TemporaryDirectory()
    func write(_ text: String, _ path: String) throws {
      let folder = path.split(separator: "/").dropLast().joined(separator: "/")
      try FileManager.default.createDirectory(atPath: directory.file(folder), withIntermediateDirectories: true)
      try directory.write(Array(text.utf8), to: path)
    }
    try write("Name:\tx\nCpus_allowed:\tff,00000003\n", "proc/self/status")
    try write(groups, "proc/self/cgroup")
    for (path, text) in files { try write(text + "\n", "cgroup/" + path) }
    return Processors.count(proc: directory.file("proc"), controlGroups: directory.file("cgroup"))
  }

  @Test(arguments: [("Name:\tx\nCpus_allowed:\tff,00000003\n", 10), ("Cpus_allowed:\t0\n", nil), ("", nil)])
  func theAffinityMaskIsCounted(status: String, count: Int?) {
    #expect(Processors.affinity(inStatus: status.split(separator: "\n")) == count)
  }

  @Test(arguments: [("max 100000", 10), ("50000 100000", 1), ("150000 100000", 2), ("2000000 100000", 10), ("x", 10)])
  func theQuotaOfVersion2Counts(text: String, expected: Int) throws {
    #expect(try count(groups: "0::/app\n", files: ["app/cpu.max": text]) == expected)
  }

  @Test func theQuotaOfAGroupAboveCountsToo() throws {
    let files = ["a/b/cpu.max": "800000 100000", "a/cpu.max": "300000 100000"]
    #expect(try count(groups: "0::/a/b\n", files: files) == 3)
    // In a container the path may be that of the host.
    #expect(try count(groups: "0::/host/path\n", files: ["cpu.max": "400000 100000"]) == 4)
  }

  @Test func theQuotaOfVersion1Counts() throws {
    let own = ["cpu,cpuacct/app/cpu.cfs_quota_us": "50000", "cpu,cpuacct/app/cpu.cfs_period_us": "100000"]
    #expect(try count(groups: "4:cpu,cpuacct:/app\n0::/\n", files: own) == 1)
    let none = ["cpu/app/cpu.cfs_quota_us": "-1", "cpu/app/cpu.cfs_period_us": "100000"]
    #expect(try count(groups: "1:cpu:/app\n", files: none) == 10)
    let above = none.merging(["cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"]) { $1 }
    #expect(try count(groups: "2:cpuacct:/\n1:cpu:/app\n", files: above) == 3)
  }

  @Test func withoutFilesTheMaskCounts() throws { #expect(try count(groups: "", files: [:]) == 10) }
}
