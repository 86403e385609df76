#include "store/scrub.h"

#include "base/checked.h"
#include "catalog/catalog.h"
#include "io/file.h"
#include "io/fork_guard.h"
#include "pack/pack_file.h"
#include "store/async_saver.h"
#include "store/checks.h"
#include "store/commit.h"
#include "store/healing.h"
#include "store/verify.h"

#include <cairn/error.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace cairn::store {

using catalog::ChunkKey;
using catalog::key_of;
using format::ChunkRef;

namespace {

/// A step in the background: short enough that closing the store never waits long.
constexpr std::uint64_t kStepBytes = std::uint64_t{8} << 20;
constexpr std::uint64_t kStepsPerSecond = 4;

/// The least rest between two passes, for small stores, and after an error.
constexpr std::chrono::seconds kRestBetweenPasses{60};

/// Stored compressed where it was plain, it would have another length.
bool lies_there(const catalog::ReadTransaction& view, const ChunkRef& chunk) {
  const auto row = view.chunk(key_of(chunk));
  return row && row->offset == chunk.offset && row->stored_bytes == chunk.stored_bytes;
}

std::vector<std::uint64_t> ids_of(const Damage& damage) {
  std::set<std::uint64_t> ids;
  for (const DamagedTensor& one : damage.touches) ids.insert(one.checkpoint_id);
  return {ids.begin(), ids.end()};
}

std::string problem_on_disk(const pack::PackFile& pack, const ChunkRef& chunk) {
  pack.file().drop_cached(chunk.offset, base::round_up(chunk.stored_bytes, format::kAlignment));
  std::string problem = chunk_problem(pack, chunk);
  pack.file().drop_cached(chunk.offset, base::round_up(chunk.stored_bytes, format::kAlignment));
  return problem;
}

}  // namespace

// ---- steps -------------------------------------------------------------------------------------

ScrubReport Scrubber::step(std::uint64_t max_bytes) {
  const std::lock_guard lock(mutex_);
  ScrubReport report;
  std::vector<Finding> findings;
  if (!in_pass_) begin_pass(report, findings);
  look_at_chunks(max_bytes, report, findings);
  if (next_ == chunks_.size()) {
    in_pass_ = false;
    report.pass_done = true;
  }
  if (writer_ != nullptr && !findings.empty()) mark(findings, report);
  return report;
}

void Scrubber::begin_pass(ScrubReport& report, std::vector<Finding>& findings) {
  pack_.file().drop_cached(0, format::kDataBegin);
  const pack::SlotTable slots = pack_.read_slots();
  const catalog::ReadTransaction view = catalog_.read();
  view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
    pack_.file().drop_cached(row.index.offset, row.index.bytes);
  });
  VerifyReport frame = verify_frame(paths_, pack_, slots, view, chunks_);
  report.bytes += frame.bytes;
  for (Damage& damage : frame.damaged) {
    if (!damage.touches.empty()) findings.push_back({.ids = ids_of(damage)});
    report.damaged.push_back(std::move(damage));
  }
  std::uint64_t drawn = 0;
  io::fill_random(std::as_writable_bytes(std::span(&drawn, 1)));
  if (!chunks_.empty()) {
    std::rotate(chunks_.begin(),
                chunks_.begin() + static_cast<std::ptrdiff_t>(drawn % chunks_.size()),
                chunks_.end());
  }
  next_ = 0;
  in_pass_ = true;
}

void Scrubber::look_at_chunks(std::uint64_t max_bytes, ScrubReport& report,
                              std::vector<Finding>& findings) {
  const catalog::ReadTransaction view = catalog_.read();
  bool is_first = true;
  for (; next_ < chunks_.size() && (is_first || report.bytes < max_bytes); ++next_) {
    const ChunkRef& chunk = chunks_[next_];
    if (!lies_there(view, chunk)) continue;
    is_first = false;
    ++report.chunks;
    report.bytes += chunk.stored_bytes;
    std::string problem = problem_on_disk(pack_, chunk);
    if (problem.empty()) continue;
    Damage damage{.what = "chunk",
                  .message = std::move(problem),
                  .pack_offset = chunk.offset,
                  .bytes = chunk.stored_bytes};
    view.for_each_checkpoint([&](const catalog::CheckpointRow& row) {
      try {
        const auto index = read_index_of(pack_, row, view.info().data_end);
        add_tensors_in(row, index, chunk.offset, damage.touches);
      } catch (const Error& error) {
        if (!is_damage(error)) throw;  // The beginning of the pass tells of it.
      }
    });
    findings.push_back({.chunk = chunk, .ids = ids_of(damage)});
    report.damaged.push_back(std::move(damage));
  }
}

void Scrubber::mark(const std::vector<Finding>& findings, ScrubReport& report) {
  saver_->change_aside([&] {
    std::set<std::uint64_t> ids;
    {
      const catalog::ReadTransaction view = catalog_.read();
      for (const Finding& finding : findings) {
        const bool is_index = finding.chunk.plain_bytes == 0;
        const bool is_still_bad = is_index || (lies_there(view, finding.chunk) &&
                                               !chunk_problem(pack_, finding.chunk).empty());
        if (is_still_bad) ids.insert(finding.ids.begin(), finding.ids.end());
      }
    }
    Change change;
    for (const CheckpointInfo& info : writer_->checkpoints()) {
      if (!info.damaged && ids.contains(info.id)) {
        change.flags.push_back({.id = info.id, .damaged = true});
        report.marked.push_back(info.id);
      }
    }
    return change.flags.empty() ? SaveResult() : writer_->commit(change);
  });
}

// ---- in the background -------------------------------------------------------------------------

BackgroundScrub::BackgroundScrub(Scrubber& scrubber, std::uint64_t bytes_per_second,
                                 LogCallback log)
    : scrubber_(scrubber),
      bytes_per_second_(bytes_per_second),
      log_(std::move(log)),
      fork_generation_(io::fork_generation()) {
  try {
    thread_ = std::thread([this] { run(); });
  } catch (const std::system_error& error) {
    throw Error(ErrorCode::kIo, std::string("cannot start a thread for the scrub: ") + error.what(),
                {.system_errno = error.code().value()});
  }
}

BackgroundScrub::~BackgroundScrub() {
  if (fork_generation_ != io::fork_generation()) {
    // There is no such thread here, and nothing may be done with what stood for it: left alone.
    static_cast<void>(new std::thread(std::move(thread_)));
    static_cast<void>(signal_.release());
    return;
  }
  {
    const std::lock_guard lock(signal_->mutex);
    signal_->stop = true;
  }
  signal_->wake.notify_all();
  thread_.join();
}

void BackgroundScrub::run() noexcept {
  std::unique_lock lock(signal_->mutex);
  while (!signal_->stop) {
    lock.unlock();
    std::chrono::nanoseconds rest = kRestBetweenPasses;
    try {
      rest = step();
    } catch (const std::exception& error) {
      say(std::string("the scrub could not go on, and tries again later: ") + error.what());
    }
    lock.lock();
    signal_->wake.wait_for(lock, rest, [&] { return signal_->stop; });
  }
}

std::chrono::nanoseconds BackgroundScrub::step() {
  const auto begin = std::chrono::steady_clock::now();
  const ScrubReport report =
      scrubber_.step(std::clamp<std::uint64_t>(bytes_per_second_ / kStepsPerSecond, 1, kStepBytes));
  for (const Damage& damage : report.damaged) {
    std::string text = "the scrub found a damaged " + damage.what + ": " + damage.message;
    for (const std::uint64_t id : ids_of(damage)) text += "; checkpoint " + std::to_string(id);
    say(text);
  }
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - begin;
  const std::chrono::nanoseconds due(static_cast<std::int64_t>(
      static_cast<double>(report.bytes) * 1e9 / static_cast<double>(bytes_per_second_)));
  const std::chrono::nanoseconds rest = std::max<std::chrono::nanoseconds>(due - took, {});
  return report.pass_done ? std::max<std::chrono::nanoseconds>(rest, kRestBetweenPasses) : rest;
}

void BackgroundScrub::say(const std::string& text) const noexcept {
  if (!log_) return;
  try {
    log_(text);
  } catch (...) {  // Nobody is left to tell.
  }
}

}  // namespace cairn::store
