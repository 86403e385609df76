#include "damage/specimen.h"

#include "format/layout.h"
#include "pack/pack_file.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace cairn::damage {
namespace {

using testing::coarse_pattern;
using testing::pattern;
using testing::tensor;

namespace fs = std::filesystem;

CheckpointState state_numbered(std::uint64_t number) {
  std::vector<TensorInput> tensors;
  tensors.push_back(tensor("frozen", pattern(1, 150'000)));
  tensors.push_back(tensor("own", coarse_pattern(100 + number, 250'000)));
  for (std::uint64_t i = 0; i < 30; ++i) {
    const std::uint64_t seed = i < 20 ? 1000 + i : 10'000 * number + i;
    tensors.push_back(tensor("small." + std::to_string(i), pattern(seed, 500 + 37 * i)));
  }
  CheckpointState state = testing::model(std::move(tensors));
  state[0].values.emplace("step", static_cast<std::int64_t>(number));
  state.push_back({.name = "optimizer", .tensors = {tensor("m", pattern(number % 2, 3000))}});
  return state;
}

Moment moment_of(const fs::path& directory) {
  Moment moment{.pack = testing::read_file(directory / "pack"),
                .catalog = testing::read_file(directory / "catalog.mdb")};
  moment.holds = testing::everything(Store(directory, {.read_only = true}));
  return moment;
}

}  // namespace

std::string_view word_for(Part::Kind kind) {
  switch (kind) {
    case Part::Kind::kSuperblock:
      return "superblock";
    case Part::Kind::kSlot:
      return "slot";
    case Part::Kind::kRoot:
      return "root";
    case Part::Kind::kIndex:
      return "index";
    case Part::Kind::kChunk:
      return "chunk";
  }
  return {};
}

Specimen::Specimen(const fs::path& directory) {
  const auto save = [](std::uint64_t number, std::string name) {
    return [=](Store& store) { store.save(state_numbered(number), {.name = name}); };
  };
  const auto remove = [](std::string name) {
    return [=](Store& store) { store.remove(std::vector{store.find_by_name(name)->id}); };
  };
  const auto pin = [](std::string name) {
    return [=](Store& store) { store.set_pinned(std::vector{store.find_by_name(name)->id}, true); };
  };
  const std::vector<std::function<void(Store&)>> life = {
      save(1, "a"),   save(2, "gone"), save(3, "b"), remove("gone"), save(4, "c"),
      save(5, "too"), remove("too"),   pin("a"),     save(4, "d"),   save(6, "e")};
  for (const auto& change : life) {
    // What is new in "b" is plain.
    const auto compression = moments_.size() == 2 ? Compression::kNone : Compression::kZstd;
    Store store(directory, {.chunk_bytes = 65'536, .compression = compression});
    change(store);
    moments_.push_back(moment_of(directory));
  }
  map_parts(directory);

  const fs::path other = directory.parent_path() / "stranger";
  Store(other, {.chunk_bytes = 65'536}).save(state_numbered(7), {.name = "stranger"});
  stranger_ = moment_of(other);
}

void Specimen::map_parts(const fs::path& directory) {
  for (const std::uint64_t offset : format::kSuperblockOffsets) {
    parts_.push_back(
        {.kind = Part::Kind::kSuperblock, .offset = offset, .bytes = format::kSuperblockBytes});
  }
  const auto pack = pack::PackFile::open(directory / "pack", io::File::Access::kRead);
  const pack::SlotTable slots = pack.read_slots();
  const format::Slot newest = *slots.newest_first().front();
  for (const auto& slot : slots.slots) {
    parts_.push_back({.kind = Part::Kind::kSlot,
                      .offset = format::kSlotOffsets.at(slot->number),
                      .bytes = format::kSlotBytes,
                      .is_spare = slot->sequence != newest.sequence &&
                                  slot->sequence != newest.parent_sequence});
  }
  for (const format::Extent& copy : {newest.root.first, newest.root.second}) {
    parts_.push_back({.kind = Part::Kind::kRoot, .offset = copy.offset, .bytes = copy.bytes});
  }
  const Store store(directory, {.read_only = true});
  std::map<std::uint64_t, Part> chunks;  // by offset
  for (const format::RootEntry& entry : pack.read_root(newest.root, newest.data_end).checkpoints) {
    Part index{
        .kind = Part::Kind::kIndex, .offset = entry.index.offset, .bytes = entry.index.bytes};
    const Checkpoint checkpoint = store.open(entry.id);
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      const TensorInfo& info = checkpoint.tensors()[i];
      const std::string name = std::string(info.recoverable) + "/" + std::string(info.key);
      index.touches[entry.name].insert(name);
      for (const ChunkInfo& chunk : checkpoint.chunks(i)) {
        Part& part = chunks[chunk.pack_offset];
        part.kind = Part::Kind::kChunk;
        part.offset = chunk.pack_offset;
        part.bytes = chunk.stored_bytes;
        part.touches[entry.name].insert(name);
      }
    }
    parts_.push_back(std::move(index));
  }
  for (auto& [offset, chunk] : chunks) parts_.push_back(std::move(chunk));
  std::sort(parts_.begin(), parts_.end(),
            [](const Part& a, const Part& b) { return a.offset < b.offset; });
}

}  // namespace cairn::damage
