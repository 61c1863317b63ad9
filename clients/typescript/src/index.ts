export {Client, Prediction} from "./client";
export type {CallOptions, PredictOptions, VersionOptions} from "./client";
export {NeedletailError} from "./errors";
export type {Origin, StatusCode} from "./errors";
export type {FeedbackReport, Outcome, OutcomeProblem} from "./feedback";
export type {Health, ModelDescription, ModelList, ModelStatus, TensorSpec, VersionStatus} from "./messages";
export type {ClientOptions, Retries, Tls} from "./options";
export type {Cell, Column, Inputs, Matrix, NumberArray, Output} from "./tensors";
