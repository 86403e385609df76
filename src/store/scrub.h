// Scrubbing: looking again, a little at a time, at everything that is stored, so that rot is found
// while other checkpoints are still good.
//
//  1. A pass begins with what holds the store together: superblocks, slots, roots, indexes. It
//  notes
//     which chunks there are, and looks at them in the order in which they lie, from a place drawn
//     at random on: a job that restarts often must not scrub the same beginning for ever.
//  2. Each step looks at some of them under a snapshot of its own. No writer waits for a reader;
//  the
//     snapshot holds freed space back for the length of one step at most. Chunks that are gone
//     since the pass began are left out, those that came are for the next pass.
//  3. The system is asked to drop what it holds of a chunk in memory before it is read, so that the
//     disk answers, and again afterwards, so that a scrub does not push out what others need. It is
//     free not to: what is being written, or mapped elsewhere, stays (posix_fadvise(2)).
//  4. What was found is looked at once more when the change that marks it has its turn, since a
//  save
//     may have healed it; then the checkpoints that it touches are marked as damaged.
#pragma once

#include "format/index.h"
#include "store/paths.h"

#include <cairn/store.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cairn::pack {
class PackFile;
}
namespace cairn::catalog {
class Catalog;
}

namespace cairn::store {

class AsyncSaver;
class Writer;

/// Threads: safe at once; steps run one after another.
class Scrubber {
 public:
  /// What it is given outlives it. Without `writer` and `saver` nothing is marked.
  Scrubber(const StorePaths& paths, const pack::PackFile& pack, const catalog::Catalog& catalog,
           Writer* writer, AsyncSaver* saver)
      : paths_(paths), pack_(pack), catalog_(catalog), writer_(writer), saver_(saver) {}

  /// Looks at the next `max_bytes`, at least at one chunk, and marks what is damaged.
  /// Errors: io; those of a commit, when something is to be marked.
  ScrubReport step(std::uint64_t max_bytes);

 private:
  /// A damaged chunk, or an index (then `chunk.plain_bytes` is 0), and whom it touches.
  struct Finding {
    format::ChunkRef chunk{};
    std::vector<std::uint64_t> ids{};
  };

  void begin_pass(ScrubReport& report, std::vector<Finding>& findings);
  void look_at_chunks(std::uint64_t max_bytes, ScrubReport& report, std::vector<Finding>& findings);
  void mark(const std::vector<Finding>& findings, ScrubReport& report);

  const StorePaths& paths_;
  const pack::PackFile& pack_;
  const catalog::Catalog& catalog_;
  Writer* writer_;
  AsyncSaver* saver_;

  std::mutex mutex_;
  bool in_pass_ = false;
  std::vector<format::ChunkRef> chunks_;  // of this pass
  std::size_t next_ = 0;
};

/// Steps on a thread of its own, so many bytes a second, until it is destroyed.
class BackgroundScrub {
 public:
  /// `scrubber` outlives it. Errors: io, when there are no more threads to be had.
  BackgroundScrub(Scrubber& scrubber, std::uint64_t bytes_per_second, LogCallback log);
  /// Waits for the step that is under way. In a child of the process that made it there is none.
  ~BackgroundScrub();
  BackgroundScrub(const BackgroundScrub&) = delete;
  BackgroundScrub& operator=(const BackgroundScrub&) = delete;

 private:
  void run() noexcept;
  /// One step; how long to rest after it.
  std::chrono::nanoseconds step();
  void say(const std::string& text) const noexcept;

  Scrubber& scrubber_;
  std::uint64_t bytes_per_second_;
  LogCallback log_;
  std::uint64_t fork_generation_;
  struct Signal {
    std::mutex mutex;
    std::condition_variable wake;
    bool stop = false;
  };
  std::unique_ptr<Signal> signal_ = std::make_unique<Signal>();
  std::thread thread_;
};

}  // namespace cairn::store
