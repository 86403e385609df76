// Errors: one exception type with a code that a program can act on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cairn {

/// What went wrong, as far as a program needs to tell cases apart.
enum class ErrorCode {
  kInvalidArgument,     ///< The call itself is wrong; nothing was tried.
  kNotFound,            ///< No such store, checkpoint, recoverable, tensor or file.
  kAlreadyExists,       ///< A name is taken; nothing was changed.
  kDamaged,             ///< Bytes do not match their digest, or contradict each other.
  kTruncated,           ///< A file ends before the bytes that it must hold.
  kUnsupportedVersion,  ///< Written by a newer Cairn, or with a feature unknown to this one.
  kNoSpace,             ///< The disk, a quota or the catalog's map is full; nothing was changed.
  kIo,                  ///< The system refused or failed a call; see `system_errno()`.
  kBusy,                ///< Another handle holds the lock that this call needs.
  kMismatch,            ///< Saved state and target differ in names, shapes or dtypes.
  kCommitUnknown,       ///< The commit may or may not have happened; reopening the store tells.
  kPoisoned,            ///< An earlier failure made this handle unusable; open the store again.
  kForked,              ///< The handle was opened before `fork`; open the store again in the child.
};

/// The code's name as in the documentation, e.g. "already_exists".
std::string_view to_string(ErrorCode code) noexcept;

/// Where an error happened, as far as it is known.
struct ErrorContext {
  std::filesystem::path path = {};
  std::optional<std::uint64_t> offset = std::nullopt;  ///< Bytes from the start of `path`.
  std::optional<int> system_errno = std::nullopt;
};

/// Every failure that Cairn reports. `what()` is one complete message: what, where, what to do.
class Error : public std::runtime_error {
 public:
  /// `message` says what went wrong and what to do; path, offset in it and errno are appended to
  /// `what()`.
  Error(ErrorCode code, std::string_view message, ErrorContext context = {});

  ErrorCode code() const noexcept { return code_; }
  const std::filesystem::path& path() const noexcept { return context_.path; }
  std::optional<std::uint64_t> offset() const noexcept { return context_.offset; }
  std::optional<int> system_errno() const noexcept { return context_.system_errno; }

 private:
  ErrorCode code_;
  ErrorContext context_;
};

}  // namespace cairn
