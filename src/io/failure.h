// How a failed system call becomes an `Error`; private to src/io.
#pragma once

#include <cairn/error.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

namespace cairn::io {

/// ENOSPC, EDQUOT and EFBIG are no_space: a limit on the size of files is a kind of quota, and what
/// helps against it is the same. EEXIST is already_exists, everything else io.
inline ErrorCode code_of(int system_errno) noexcept {
  switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ErrorCode::kNoSpace;
    case EEXIST:
      return ErrorCode::kAlreadyExists;
    default:
      return ErrorCode::kIo;
  }
}

/// Throws for `system_errno`. The message begins with what could not be done: "cannot write".
[[noreturn]] inline void fail(int system_errno, std::string_view message,
                              const std::filesystem::path& path,
                              std::optional<std::uint64_t> offset = std::nullopt) {
  throw Error(code_of(system_errno), message,
              {.path = path, .offset = offset, .system_errno = system_errno});
}

/// The same for a flush, which is io whatever the system says: a full disk that shows only now has
/// swallowed writes that were accepted before, so nobody may take it for "nothing has happened".
[[noreturn]] inline void fail_to_flush(int system_errno, std::string_view message,
                                       const std::filesystem::path& path) {
  throw Error(ErrorCode::kIo, message, {.path = path, .system_errno = system_errno});
}

/// Calls `call` again for as long as a signal interrupts it.
template <typename Call>
auto retry_interrupted(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

/// True when `system_errno` says that nothing stands at a path.
inline bool means_absent(int system_errno) noexcept {
  return system_errno == ENOENT || system_errno == ENOTDIR;
}

}  // namespace cairn::io
