// The one error of finding, fetching and running the private Redis. Its message is meant for the operator who starts the
// server: it says what is wrong, with which file or folder, and what to do. It must not know who prints it.

/** Thrown when no usable Redis can be found, or the private one cannot be started. */
export class PrivateRedisError extends Error {
  override readonly name = "PrivateRedisError";
}
