// The store that a command works on, opened as the common options say.
#pragma once

#include "command.h"
#include "output.h"

#include <cairn/store.h>

#include <chrono>
#include <string>

namespace cairn::cli {

/// What every command that has a store takes first.
inline constexpr Argument kStoreArgument{.name = "STORE", .help = "The store's directory."};

/// For commands that only read, and those that only read with --dry-run.
inline constexpr Option kAssumeNoWriter{
    .name = "--assume-no-writer",
    .help = "For a read-only disk; you vouch that no process writes."};

/// For commands that save, and make the store where there is none.
inline constexpr Option kCompress{
    .name = "--compress", .help = "Compress new chunks, now and in all later saves; lossless."};

/// Opens without ever changing a file or taking the writer lock.
Store open_for_reading(const Invocation& invocation, Output& output);

/// Opens for changes; takes the writer lock. Only `import` creates. Errors: UsageError with
/// --assume-no-writer.
Store open_for_writing(const Invocation& invocation, Output& output, bool create = false);

/// The same for a store that another word names.
Store open_named_for_reading(const std::string& directory, const Invocation& invocation,
                             Output& output, bool assume_no_writer);
Store open_named(const std::string& directory, const Invocation& invocation, Output& output,
                 bool create);

/// The time that --wait gives. Errors: UsageError.
std::chrono::milliseconds busy_timeout(const Invocation& invocation);

/// Prints what Cairn has to say as notes.
LogCallback note_to(Output& output);

/// Calls `change`, in which the store may find that a checkpoint has just gone: exit code 4.
template <typename Change>
decltype(auto) expecting_checkpoints(const Change& change) {
  try {
    return change();
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
    throw Failure(kNoSuchCheckpoint, error.what());
  }
}

}  // namespace cairn::cli
