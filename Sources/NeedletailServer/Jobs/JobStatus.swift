internal import NeedletailCore
internal import Synchronization

/// Where a job is. Raw values are those of the protocol and of the metric label `state`.
enum JobState: String, CaseIterable, Sendable {
  /// Its request waits for its turn. Next: any other state but `done`.
  case queued
  /// Its rows are being computed. Next: `done`, `failed`, `cancelled`.
  case running
  /// Its result can be fetched. Next: `expired`.
  case done
  /// It ended with an error.
  case failed
  /// Its caller ended it.
  case cancelled
  /// Its result was there and has gone.
  case expired
}

/// What the thread that runs a job tells of it, and what it is told. Any thread.
final class JobProgress: Sendable {
  /// Rows of the request; 0: not known yet.
  let rows = Atomic(0)
  let rowsDone = Atomic(0)
  /// Number of the version that answers; 0: not chosen yet.
  let version = Atomic<UInt64>(0)
  /// Whether the job is to end.
  let isCancelled = Atomic(false)
  /// Time in nanoseconds of ``Instant`` at which another server may begin the job, unless the lease is renewed.
  let leaseEnd = Atomic(UInt64.max)
}

/// State of a job at one moment, for its caller.
struct JobStatus: Sendable, Equatable {
  var id: JobID
  var model: String
  var state: JobState
  /// 0: not chosen yet.
  var version: UInt64 = 0
  /// 0: not known yet.
  var rows = 0
  var rowsDone = 0
  /// Time since the submission.
  var ageMilliseconds: UInt64
  /// Time for which the result can still be fetched; nil: there is none.
  var expiresInMilliseconds: UInt64?
  /// Why it failed.
  var error: ServingError?

  var json: String {
    func seconds(_ milliseconds: UInt64) -> String { "\(Double(milliseconds) / 1000)" }
    var members = ["\"id\":\"\(id)\"", "\"state\":\"\(state.rawValue)\"", "\"model_name\":\(JSONText.quoted(model))"]
    if version > 0 { members.append("\"model_version\":\"\(version)\"") }
    if rows > 0 { members.append("\"rows\":\(rows),\"rows_done\":\(rowsDone)") }
    members.append("\"age_seconds\":\(seconds(ageMilliseconds))")
    if let expiresInMilliseconds { members.append("\"expires_in_seconds\":\(seconds(expiresInMilliseconds))") }
    if let error { members.append(contentsOf: OpenInferenceReports.members(of: error)) }
    return "{\(members.joined(separator: ","))}"
  }
}

/// Call about a job, as a codec reads it.
enum JobCall {
  /// The head of a submission is there, and its body is to come: may it?
  case begin(JobHead)
  /// The body is whole.
  case submit(JobUpload)
  /// - Parameter callID: id of the call on its connection.
  case ask(JobQuestion, JobID, callID: UInt64)

  /// Id of the call on its connection.
  var callID: UInt64 {
    switch self {
    case .begin(let head): head.callID
    case .submit(let upload): upload.head.callID
    case .ask(_, _, let id): id
    }
  }
}

/// Question about a job that there may be.
enum JobQuestion: Equatable, Sendable {
  case status
  case result
  /// Ends it, or drops its result.
  case cancel
}

/// Answer to a call about a job.
enum JobAnswer: Sendable {
  /// - Parameter isNew: whether the call has submitted it.
  case status(JobStatus, isNew: Bool)
  case result(JobResult)
  /// - Parameter status: status of HTTP; nil: the one that belongs to the error's code.
  case error(ServingError, status: Int? = nil)
}
