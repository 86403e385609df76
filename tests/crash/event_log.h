// What happened to a directory and the files in it, in order: a plain list that anyone may write
// (the recorder of these tests, or a converter of strace's output) and that is all the enumerator
// of crash states looks at (crash_states.h).
//
// Text form, one event a line, words separated by one space, lines that begin with '#' ignored:
//
//     mkdir DIR NAME NODE          directory NODE appears in directory DIR as NAME
//     create DIR NAME NODE         file NODE, empty, appears in directory DIR as NAME
//     rename DIR NAME DIR NAME     from the first place to the second, which it replaces
//     unlink DIR NAME              a file's name or an empty directory's goes
//     syncdir DIR                  fsync of a directory has returned
//     write NODE OFFSET HEX        bytes written to a file, two hexadecimal digits each
//     truncate NODE BYTES          the file's length is set (O_TRUNC of a file with contents, too)
//     punch NODE OFFSET BYTES      the range reads as zeros; the length stays
//     sync NODE                    fsync or fdatasync of a file has returned
//     syncrange NODE OFFSET BYTES  a write with O_DSYNC has returned: follows its `write`
//     note TEXT                    something the workload says, such as "begin 3" and "done 3"
//
// Files and directories are numbered as they appear; 0 is the directory that was recorded. A number
// stands for an inode: it stays the same when the name changes. NAME has no space and no '/'. What
// was there before the recording began is told by events, too, with syncs behind them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::crash {

using Bytes = std::vector<std::byte>;

/// A file or directory, whatever its name.
using Node = std::uint32_t;
inline constexpr Node kTop = 0;

enum class EventKind {
  kMakeDirectory,
  kCreate,
  kRename,
  kUnlink,
  kSyncDirectory,
  kWrite,
  kTruncate,
  kPunch,
  kSync,
  kSyncRange,
  kNote,
};

struct Event {
  EventKind kind = EventKind::kNote;
  Node node = kTop;       // what appears, is changed, or is flushed
  Node directory = kTop;  // where a name appears or goes
  std::string name{};     // and which; of a note, its text
  Node to_directory = kTop;
  std::string to_name{};
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  Bytes data{};  // of a write
  friend bool operator==(const Event&, const Event&) = default;
};

using EventLog = std::vector<Event>;

std::string to_text(const Event& event);
std::string to_text(const EventLog& log);
/// Errors: std::runtime_error with the number of the line.
EventLog from_text(std::string_view text);

}  // namespace cairn::crash
