#pragma once
// Result<T>: a value, or the environment's failure.
//
// Use it for what the surroundings did to us: I/O errors, corrupt bytes, unparsable input. An
// outcome that a client can act on is a value of the api, and a broken invariant is a CHECK
// (base/check.h).

#include <expected>
#include <string>
#include <utility>

namespace conclave {

// Kinds of failure. One exists only because some code reacts to it differently from the others.
enum class ErrorCode {
  kIo,        // the system call failed; the file or connection must be considered broken
  kNoSpace,   // the disk is full; the same call may succeed later
  kCorrupt,   // bytes that fail their checksum or grammar
  kNotFound,  // no such file
  kBusy,      // held by another process: a locked directory, a port in use
  kInvalid,   // the caller's input makes no sense: flags, URLs, configuration
  kMismatch,  // it belongs to another cluster or member
  kRemoved,   // this member was removed from its cluster: it ends as it was asked to
};

struct Error {
  ErrorCode code = ErrorCode::kIo;
  std::string message;  // for a person: what failed, where, and what to do
};

template <class T>
class [[nodiscard]] Result : public std::expected<T, Error> {
 public:
  using std::expected<T, Error>::expected;
};

using Failure = std::unexpected<Error>;

// `return fail(ErrorCode::kIo, "...")` from any function that returns a Result.
inline Failure fail(ErrorCode code, std::string message) {
  return Failure(Error{code, std::move(message)});
}

}  // namespace conclave

// TRY(expression): the value of a Result, or return its error from the enclosing function.
//   auto file = TRY(disk.open(path));
//   TRY(disk.sync(file));
// Each use names its own variable, so that one may stand inside another.
#define TRY(...) CONCLAVE_TRY_AS(__COUNTER__, __VA_ARGS__)
#define CONCLAVE_TRY_AS(number, ...) CONCLAVE_TRY_PASTE(number, __VA_ARGS__)
#define CONCLAVE_TRY_PASTE(number, ...) CONCLAVE_TRY_NAMED(try_result_##number, __VA_ARGS__)
#define CONCLAVE_TRY_NAMED(name, ...)                               \
  __extension__({                                                   \
    auto name = (__VA_ARGS__);                                      \
    if (!name) return ::conclave::Failure(std::move(name).error()); \
    ::conclave::detail::take(std::move(name));                      \
  })

namespace conclave::detail {
template <class T>
T take(Result<T>&& result) {
  return std::move(*result);
}
inline void take(Result<void>&&) {}
}  // namespace conclave::detail
