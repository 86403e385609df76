#include "store/verify.h"

#include "base/checked.h"
#include "format/index.h"
#include "store/checks.h"

#include <cairn/error.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::store {

using base::round_up;
using catalog::CheckpointRow;
using catalog::ChunkKey;
using catalog::ChunkRow;
using format::ChunkRef;
using format::Extent;
using format::kAlignment;
using format::kDataBegin;

namespace {

/// What checkpoints hold: their indexes and chunks.
class ContentsCheck {
 public:
  ContentsCheck(const pack::PackFile& pack, std::uint64_t data_end,
                std::span<const CheckpointRow> rows, VerifyReport& report)
      : pack_(pack), report_(report) {
    for (const CheckpointRow& row : rows) {
      Checkpoint& checkpoint = checkpoints_[row.id];
      checkpoint.row = row;
      try {
        checkpoint.index = read_index_of(pack_, row, data_end);
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        checkpoint.error = error.what();
      }
    }
  }

  void run(const std::set<std::uint64_t>& wanted) {
    report_indexes(wanted);
    check_chunks(wanted);
  }

  void report_to(const ProgressCallback& progress) { progress_ = progress; }

  void report_indexes(const std::set<std::uint64_t>& wanted) {
    for (const auto& [id, checkpoint] : checkpoints_) {
      if (!wanted.empty() && !wanted.contains(id)) continue;
      ++report_.checkpoints;
      report_.bytes += checkpoint.row.index.bytes;
      if (checkpoint.index) continue;
      damage("index", checkpoint.error, checkpoint.row.index.offset, checkpoint.row.index.bytes);
      report_.damaged.back().touches.push_back(
          {.checkpoint_id = id, .checkpoint_name = checkpoint.row.name});
    }
  }

  /// Distinct chunks, in the order in which they lie.
  std::vector<ChunkRef> chunks_of(const std::set<std::uint64_t>& wanted) const {
    std::vector<ChunkRef> chunks;
    for (const auto& [id, checkpoint] : checkpoints_) {
      if (!checkpoint.index || (!wanted.empty() && !wanted.contains(id))) continue;
      const auto& held = checkpoint.index->chunks;
      chunks.insert(chunks.end(), held.begin(), held.end());
    }
    std::sort(chunks.begin(), chunks.end(),
              [](const ChunkRef& a, const ChunkRef& b) { return a.offset < b.offset; });
    const auto same = [](const ChunkRef& a, const ChunkRef& b) { return a.offset == b.offset; };
    chunks.erase(std::unique(chunks.begin(), chunks.end(), same), chunks.end());
    return chunks;
  }

 protected:
  struct Checkpoint {
    CheckpointRow row{};
    std::optional<format::Index> index{};
    std::string error{};  // why there is no index
  };

  void damage(std::string what, std::string message, std::uint64_t offset, std::uint64_t bytes) {
    report_.damaged.push_back({.what = std::move(what),
                               .message = std::move(message),
                               .pack_offset = offset,
                               .bytes = bytes});
  }

  void check_chunks(const std::set<std::uint64_t>& wanted) {
    const std::vector<ChunkRef> chunks = chunks_of(wanted);
    std::vector<pack::ChunkRead> reads;
    reads.reserve(chunks.size());
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      reads.push_back({.chunk = &chunks[i], .tag = i});
      report_.bytes += chunks[i].stored_bytes;
    }
    report_.chunks = chunks.size();

    std::mutex mutex;
    std::map<std::size_t, std::string> bad;  // by position
    pack::ChunkReader reader;
    reader.damaged = [&](std::size_t position, const Error& error) {
      const std::lock_guard lock(mutex);
      bad.emplace(position, error.what());
    };
    std::atomic<std::uint64_t> done{0};
    if (progress_) {
      std::uint64_t total = 0;
      for (const ChunkRef& chunk : chunks) total += chunk.plain_bytes;
      reader.use = [this, &done, total](std::size_t, std::span<const std::byte> plain) {
        progress_({.done_bytes = done += plain.size(), .total_bytes = total});
      };
    }
    pack_.read_chunks(std::move(reads), reader);
    for (const auto& [position, message] : bad) {
      const ChunkRef& chunk = chunks[position];
      damage("chunk", message, chunk.offset, chunk.stored_bytes);
      for (const auto& [id, checkpoint] : checkpoints_) {
        if (!checkpoint.index) continue;
        add_tensors_in(checkpoint.row, *checkpoint.index, chunk.offset,
                       report_.damaged.back().touches);
      }
    }
  }

  const pack::PackFile& pack_;
  VerifyReport& report_;
  ProgressCallback progress_;
  std::map<std::uint64_t, Checkpoint> checkpoints_;
};

/// What holds the checkpoints together, beside what they hold.
class StoreCheck : public ContentsCheck {
 public:
  StoreCheck(const StorePaths& paths, const pack::PackFile& pack, const pack::SlotTable& slots,
             const catalog::ReadTransaction& view, VerifyReport& report)
      : ContentsCheck(pack, view.info().data_end, read_rows(view), report),
        paths_(paths),
        slots_(slots),
        view_(view),
        info_(view.info()) {}

  void run(std::span<const std::uint64_t> ids) {
    const std::set<std::uint64_t> wanted(ids.begin(), ids.end());
    for (const std::uint64_t id : wanted) {
      if (!checkpoints_.contains(id)) {
        throw Error(ErrorCode::kNotFound, "no checkpoint has id " + std::to_string(id),
                    {.path = paths_.directory});
      }
    }
    if (wanted.empty()) check_frame();
    ContentsCheck::run(wanted);
  }

  void check_frame() {
    check_superblocks();
    check_slots();
    check_roots();
    check_catalog();
  }

 private:
  void check_superblocks() {
    const auto errors = pack_.superblock_errors();
    for (std::size_t copy = 0; copy < errors.size(); ++copy) {
      if (errors[copy].empty()) continue;
      const std::string which = "copy " + std::to_string(copy + 1);
      // Both copies have the feature before the first chunk that needs it.
      if (errors[copy] == pack::PackFile::kLacksFeatures && !holds_compressed_chunks()) {
        report_.notes.push_back(which + " of the superblock: " + errors[copy] +
                                ", as a change that was cut short leaves it; opening for writing "
                                "completes it");
        continue;
      }
      damage("superblock", which + " is damaged: " + errors[copy], format::kSuperblockOffsets[copy],
             format::kSuperblockBytes);
    }
  }

  /// By the catalog, which knows the chunks of lost indexes, too.
  bool holds_compressed_chunks() const {
    bool any = false;
    view_.for_each_chunk([&](const ChunkKey&, const ChunkRow& row) {
      any = any || row.encoding != format::Encoding::kRaw;
    });
    return any;
  }

  void check_slots() {
    for (std::size_t number = 0; number < format::kSlotCount; ++number) {
      if (slots_.errors[number].empty()) continue;
      // A commit that was cut short may have torn the slot that it wrote, which is none that
      // counts: then the committed one and its parent are both readable.
      const bool counts =
          slots_.find(info_.sequence) == nullptr ||
          (info_.parent_sequence != 0 && slots_.find(info_.parent_sequence) == nullptr);
      const std::string message =
          "slot " + std::to_string(number) + " is damaged: " + slots_.errors[number];
      if (counts) {
        damage("slot", message, format::kSlotOffsets[number], format::kSlotBytes);
      } else {
        report_.notes.push_back(message + " (a commit that was cut short can leave it so)");
      }
    }
    // A slot of zeros, or an older one in its place, is no error of its own.
    const pack::SlotTable now = pack_.read_slots();
    for (const std::string& text : lost_slots(now, info_)) {
      const bool is_told = std::any_of(report_.damaged.begin(), report_.damaged.end(),
                                       [](const Damage& damage) { return damage.what == "slot"; });
      if (!is_told) damage("slot", text, format::kSlotOffsets[0], 0);
    }
    if (const auto text = stranded_note(slots_, info_.sequence)) report_.notes.push_back(*text);
  }

  void check_roots() {
    for (const Extent& copy : {info_.root.first, info_.root.second}) {
      report_.bytes += copy.bytes;
      try {
        pack_.read_root_copy(copy, info_.root.digest, info_.data_end);
      } catch (const Error& error) {
        if (!is_damage(error)) throw;
        damage("root", error.what(), copy.offset, copy.bytes);
      }
    }
  }

  /// Counts, places and free space, as the indexes say and as the catalog says.
  void check_catalog() {
    try {
      for (const std::string& note : check_store(paths_, pack_, slots_, view_, read_rows(view_))) {
        report_.notes.push_back(note);
      }
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      damage("catalog", error.what(), error.offset().value_or(0), 0);
    }
    const bool all_readable =
        std::all_of(checkpoints_.begin(), checkpoints_.end(),
                    [](const auto& checkpoint) { return checkpoint.second.index.has_value(); });
    std::map<ChunkKey, ChunkRow> expected;
    std::vector<std::pair<Extent, std::string>> extents{{info_.root.first, "a root"},
                                                        {info_.root.second, "a root"}};
    for (const auto& [id, checkpoint] : checkpoints_) {
      extents.emplace_back(checkpoint.row.index, "an index");
      if (!checkpoint.index) continue;
      for (const ChunkRef& chunk : checkpoint.index->chunks) {
        ChunkRow& row = expected[catalog::key_of(chunk)];
        if (row.references++ == 0) {
          row.offset = chunk.offset;
          row.stored_bytes = chunk.stored_bytes;
          row.encoding = chunk.encoding;
        } else if (row.offset != chunk.offset) {
          damage("index", "chunk " + chunk.id.to_hex() + " has two places", chunk.offset,
                 chunk.stored_bytes);
        }
      }
    }
    const bool may_compress =
        (pack_.current_superblock().incompat & format::kIncompatCompressed) != 0;
    const bool compresses = std::any_of(expected.begin(), expected.end(), [](const auto& chunk) {
      return chunk.second.encoding != format::Encoding::kRaw;
    });
    if (compresses && !may_compress) {
      damage("superblock", "chunks are compressed, and the superblock does not say so",
             format::kSuperblockOffsets[0], format::kSuperblockBytes);
    }
    std::uint64_t matched = 0;
    view_.for_each_chunk([&](const ChunkKey& key, const ChunkRow& row) {
      extents.emplace_back(Extent{.offset = row.offset, .bytes = row.stored_bytes}, "a chunk");
      const auto at = expected.find(key);
      if (at != expected.end()) ++matched;
      // Where an index is lost, the catalog alone knows its chunks.
      const bool right = at == expected.end() ? !all_readable
                         : all_readable       ? at->second == row
                                              : at->second.offset == row.offset &&
                                              at->second.references <= row.references;
      if (!right) {
        damage("catalog", "the row of chunk " + key.id.to_hex() + " is not what the indexes say",
               row.offset, row.stored_bytes);
      }
    });
    if (matched != expected.size()) {
      damage("catalog",
             std::to_string(expected.size() - matched) + " chunks of indexes have no row", 0, 0);
    }
    view_.for_each_free([&](const catalog::FreeRow& row) {
      extents.emplace_back(Extent{.offset = row.offset, .bytes = row.bytes}, "free");
    });
    check_partition(std::move(extents));
  }

  void check_partition(std::vector<std::pair<Extent, std::string>> extents) {
    std::sort(extents.begin(), extents.end());
    std::uint64_t end = kDataBegin;
    for (const auto& [extent, what] : extents) {
      if (extent.offset != end) {
        damage("catalog",
               extent.offset < end ? "extents overlap at " + what
                                   : "bytes before " + what + " are neither live nor free",
               std::min(extent.offset, end),
               std::max(extent.offset, end) - std::min(extent.offset, end));
      }
      end = std::max(end, extent.offset + round_up(extent.bytes, kAlignment));
    }
    if (end != info_.data_end) {
      damage("catalog", "live and free extents do not end at the end of data", end, 0);
    }
  }

  const StorePaths& paths_;
  const pack::SlotTable& slots_;
  const catalog::ReadTransaction& view_;
  catalog::InfoRow info_;
};

}  // namespace

VerifyReport verify_store(const StorePaths& paths, const pack::PackFile& pack,
                          const pack::SlotTable& slots, const catalog::ReadTransaction& view,
                          std::span<const std::uint64_t> ids, const ProgressCallback& progress) {
  VerifyReport report;
  StoreCheck check(paths, pack, slots, view, report);
  check.report_to(progress);
  check.run(ids);
  report.ok = report.damaged.empty();
  return report;
}

VerifyReport verify_frame(const StorePaths& paths, const pack::PackFile& pack,
                          const pack::SlotTable& slots, const catalog::ReadTransaction& view,
                          std::vector<ChunkRef>& chunks) {
  VerifyReport report;
  StoreCheck check(paths, pack, slots, view, report);
  check.check_frame();
  check.report_indexes({});
  chunks = check.chunks_of({});
  report.ok = report.damaged.empty();
  return report;
}

void add_tensors_in(const CheckpointRow& row, const format::Index& index, std::uint64_t offset,
                    std::vector<DamagedTensor>& tensors) {
  for (const format::IndexRecoverable& recoverable : index.recoverables) {
    for (const format::IndexTensor& tensor : recoverable.tensors) {
      const std::uint64_t bytes = *format::tensor_bytes(tensor.dtype, tensor.shape);
      const auto first = index.chunks.begin() + static_cast<std::ptrdiff_t>(tensor.first_chunk);
      const auto last =
          first + static_cast<std::ptrdiff_t>(format::chunk_count(index, tensor, bytes));
      const bool is_in =
          std::any_of(first, last, [&](const ChunkRef& chunk) { return chunk.offset == offset; });
      if (!is_in) continue;
      tensors.push_back({.checkpoint_id = row.id,
                         .checkpoint_name = row.name,
                         .tensor = recoverable.name + "/" + tensor.key});
    }
  }
}

VerifyReport verify_contents(const pack::PackFile& pack, std::uint64_t data_end,
                             std::span<const catalog::CheckpointRow> rows,
                             const ProgressCallback& progress) {
  VerifyReport report;
  ContentsCheck check(pack, data_end, rows, report);
  check.report_to(progress);
  check.run({});
  report.ok = report.damaged.empty();
  return report;
}

}  // namespace cairn::store
