// Records every change that this process makes to the files below a directory, LMDB's among them,
// by the linker's --wrap (docs/decisions/0002), and may fail calls or play deaf to flushes.
//
// It is no recorder unless nothing escapes it: `finish` compares what the log replays to with the
// real files, and no file but LMDB's lock file may be mapped for writing. What LMDB keeps in its
// lock file lasts as long as its processes; files whose name ends with "-lock" are left out of the
// log. Files are opened past the page cache as they are asked to be, where their file system has
// that; a direct transfer that is not aligned counts as escaped, wherever it goes.
#pragma once

#include "crash/event_log.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::crash {

/// A call that is about to change something.
struct Call {
  EventKind kind{};
  std::string name{};  // of the file, or path of the directory below the recorded one
  std::string
      last_name_event{};  // of a directory: the newest "create NAME", "rename NAME", ... in it
};

/// What stands between the workload and the system.
struct Interference {
  std::function<int(const Call&)> fails_with{};  ///< errno to fail with; 0: goes through.
  std::function<bool(const Call&)> is_deaf{};    ///< A flush that reports success and does nothing.
  /// Called on the thread of each call that will be an event, before anything else. It may wait,
  /// and may call `Recorder::note`.
  std::function<void()> before{};
};

class Recorder {
 public:
  /// Begins; one at a time. What is in the directory already is told by events with syncs.
  explicit Recorder(std::filesystem::path directory, Interference interference = {});
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  void note(std::string text);
  void set_interference(Interference interference);
  /// So many writes came through a descriptor that was opened with O_DIRECT.
  std::uint64_t direct_writes() const;

  /// Ends and returns the log. Errors: std::runtime_error when something has escaped.
  EventLog finish();

 private:
  friend struct Wraps;
  struct Open {
    Node node = kTop;
    bool is_directory = false;
    bool is_synchronous = false;
    bool is_direct = false;
  };
  struct Place {
    Node directory = kTop;
    std::string name{};
  };

  /// The path below the directory, or nothing when it lies elsewhere or is left out.
  std::optional<std::string> below(const char* path) const;
  std::optional<Place> place_of(const std::string& path) const;
  Call call_of(EventKind kind, const std::string& path) const;
  void add(Event event);
  void escaped(std::string how);
  void check_mappings();

  std::filesystem::path directory_;
  Interference interference_;
  mutable std::mutex mutex_;
  EventLog log_;
  Node next_node_ = kTop + 1;
  std::map<std::string, Node> nodes_;    // by path
  std::map<Node, std::string> paths_;    // the newest of each
  std::map<Node, std::string> last_in_;  // newest name event in a directory
  std::map<int, Open> open_;             // by descriptor
  std::vector<std::string> escapes_;
  std::uint64_t direct_writes_ = 0;
};

/// While it lives, the wall clock and the system's random bytes come from a seed, so that equal
/// workloads make equal files.
class Determinism {
 public:
  explicit Determinism(std::uint64_t seed);
  ~Determinism();
  Determinism(const Determinism&) = delete;
  Determinism& operator=(const Determinism&) = delete;
};

}  // namespace cairn::crash
