// Giving free space back to the file system.
//
// What the last commit freed, and the root before it, may be touched only from the second commit on
// (pack/free_space.h). So three commits are made that change nothing: after them the roots lie as
// low as they can, and everything that was free when it began may be given up. Then, after the last
// commit and never needed by it:
//
//  1. The pack is cut at its new end of data, unless a reader with an older snapshot may yet
//     compare the pack's length with the older, larger end.
//  2. Holes below are punched, and read as zeros from then on.
//
// A crash in between leaves free space that was not given back, nothing else.
//
// With `compress`, other commits come first, in which plain chunks are stored once more,
// compressed, and with them the indexes that name them (compress.cc): those of a part of the pack
// in each, so that one needs little room, and what is done stays done when a later one fails. What
// they replace is then free like the rest.
#include "format/layout.h"
#include "store/commit.h"

#include <cairn/error.h>

namespace cairn::store {

namespace {

constexpr int kCommitsUntilAllIsReusable = 3;

}  // namespace

CompactReport Writer::compact(const CompactOptions& options) {
  const std::lock_guard lock(mutex_);
  require_usable();
  if (options.compress && compression_ == Compression::kNone) {
    throw Error(ErrorCode::kInvalidArgument,
                "the store is open without compression; open it with compression to compress what "
                "it holds",
                {.path = pack_.path().parent_path()});
  }
  const io::File& file = pack_.file();
  CompactReport report{.pack_bytes_before = file.bytes(),
                       .allocated_bytes_before = file.allocated_bytes()};
  if (must_supersede_) publish_nothing();
  if (options.compress) compress_stored(options, report);
  for (int i = 0; i < kCommitsUntilAllIsReusable; ++i) {
    SaveResult nothing;
    publish({.compact = true}, nothing);
  }

  const auto reader = catalog_.oldest_reader();
  if (!reader || reader->transaction >= info_.transaction) {
    reserved_end_ = 0;
    file.resize(info_.data_end);  // also drops what is reserved behind it
    try {
      file.reserve(info_.data_end, bytes_kept_back(info_.root.first.bytes));
    } catch (const Error& error) {
      // Another program was faster; the next save tries again.
      if (error.code() != ErrorCode::kNoSpace) throw;
    }
  } else {
    report.oldest_reader_pid = reader->pid;
  }
  const auto holes = free_space_.reusable_extents();
  Progress progress;
  for (const pack::FreeExtent& hole : holes) progress.total_bytes += hole.bytes;
  for (const pack::FreeExtent& hole : holes) {
    if (!file.punch(hole.offset, hole.bytes)) {
      report.can_punch = false;
      break;
    }
    progress.done_bytes += hole.bytes;
    if (options.progress) options.progress(progress);
  }
  report.pack_bytes = file.bytes();
  report.allocated_bytes = file.allocated_bytes();
  return report;
}

}  // namespace cairn::store
