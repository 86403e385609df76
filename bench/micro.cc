// The steps that operations are made of, one by one, by Google Benchmark: for those who change one
// of them. The rows of the table take turns with their floors, and have a harness of their own
// (docs/decisions/0024).
#include "base/digest.h"
#include "catalog/catalog.h"
#include "catalog/row_codec.h"
#include "format/index.h"
#include "format/root.h"
#include "store/cut.h"
#include "store/references.h"

#include <cairn/store.h>

#include <benchmark/benchmark.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <random>
#include <stdlib.h>
#include <string>
#include <vector>

namespace cairn {
namespace {

std::uint64_t count_of(const benchmark::State& state) {
  return static_cast<std::uint64_t>(state.range(0));
}

void done_items(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

// ---- digests ------------------------------------------------------------------------------------

void digest(benchmark::State& state) {
  const std::vector<std::byte> bytes(count_of(state));
  for (auto _ : state) benchmark::DoNotOptimize(base::xxh3_128(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(digest)->Arg(64)->Arg(4096)->Arg(65536)->Arg(1 << 20);

// ---- cutting ------------------------------------------------------------------------------------

/// So many tensors of `bytes` bytes of one recoverable.
class Tensors {
 public:
  Tensors(std::uint64_t count, std::uint64_t bytes) : memory_(count * bytes) {
    RecoverableState& model = state_.emplace_back();
    model.name = "model";
    for (std::uint64_t i = 0; i < count; ++i) {
      model.tensors.push_back({.key = "layer." + std::to_string(i) + ".weight",
                               .dtype = DType::kU8,
                               .shape = {static_cast<std::int64_t>(bytes)},
                               .data = memory_.data() + i * bytes});
    }
  }
  const CheckpointState& state() const noexcept { return state_; }

 private:
  std::vector<std::byte> memory_;
  CheckpointState state_;
};

void cut_small_tensors(benchmark::State& state) {
  const Tensors tensors(count_of(state), 64);
  for (auto _ : state) benchmark::DoNotOptimize(store::cut(tensors.state(), 1 << 20));
  done_items(state);
}
BENCHMARK(cut_small_tensors)->Arg(100)->Arg(100'000);

void fill_a_shared_chunk(benchmark::State& state) {
  const Tensors tensors(64, 1000);
  const store::CutState cut = store::cut(tensors.state(), 1 << 20);
  std::vector<std::byte> out(cut.chunks.front().plain_bytes);
  for (auto _ : state) {
    store::fill(cut.chunks.front(), out);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(out.size()));
}
BENCHMARK(fill_a_shared_chunk);

// ---- index and root -----------------------------------------------------------------------------

format::Index index_of(std::uint64_t tensors) {
  const Tensors some(tensors, 64);
  const store::CutState cut = store::cut(some.state(), 1 << 20);
  format::Index index{.id = 1, .sequence = 2, .name = "one", .recoverables = cut.recoverables};
  std::uint64_t offset = format::kDataBegin;
  for (const store::PlannedChunk& chunk : cut.chunks) {
    format::ChunkId id;
    std::memcpy(id.bytes.data(), &offset, sizeof(offset));
    index.chunks.push_back({.id = id,
                            .offset = offset,
                            .plain_bytes = chunk.plain_bytes,
                            .stored_bytes = chunk.plain_bytes});
    offset +=
        (chunk.plain_bytes + format::kAlignment - 1) / format::kAlignment * format::kAlignment;
  }
  return index;
}

void encode_index(benchmark::State& state) {
  const format::Index index = index_of(count_of(state));
  for (auto _ : state) benchmark::DoNotOptimize(format::encode_index(index));
  done_items(state);
}
BENCHMARK(encode_index)->Arg(100)->Arg(100'000);

void decode_index(benchmark::State& state) {
  const auto payload = format::encode_index(index_of(count_of(state)));
  for (auto _ : state) {
    benchmark::DoNotOptimize(format::decode_index(payload, format::kMaxPackBytes));
  }
  done_items(state);
}
BENCHMARK(decode_index)->Arg(100)->Arg(100'000);

format::Root root_of(std::uint64_t checkpoints) {
  format::Root root{.sequence = checkpoints + 1, .next_id = checkpoints + 1};
  for (std::uint64_t id = 1; id <= checkpoints; ++id) {
    root.checkpoints.push_back(
        {.id = id,
         .sequence = id,
         .name = "ckpt-" + std::to_string(id),
         .index = {.offset = format::kDataBegin + id * format::kAlignment, .bytes = 1000}});
  }
  return root;
}

void encode_root(benchmark::State& state) {
  const format::Root root = root_of(count_of(state));
  for (auto _ : state) benchmark::DoNotOptimize(format::encode_root(root));
  done_items(state);
}
BENCHMARK(encode_root)->Arg(10)->Arg(10'000);

void encode_next_root(benchmark::State& state) {
  const auto payload = format::encode_root(root_of(count_of(state)));
  const format::RootChange change{.sequence = count_of(state) + 2,
                                  .parent_sequence = count_of(state) + 1,
                                  .next_id = count_of(state) + 1,
                                  .removed = {count_of(state) / 2}};
  for (auto _ : state) benchmark::DoNotOptimize(format::encode_next_root(payload, change));
  done_items(state);
}
BENCHMARK(encode_next_root)->Arg(10)->Arg(10'000);

// ---- the catalog --------------------------------------------------------------------------------

void encode_chunk_row(benchmark::State& state) {
  const catalog::ChunkKey key{.plain_bytes = 1 << 20};
  const catalog::ChunkRow row{.offset = 1 << 20, .stored_bytes = 1 << 20, .references = 1};
  for (auto _ : state) benchmark::DoNotOptimize(catalog::encode_chunk(key, row));
}
BENCHMARK(encode_chunk_row);

void decode_chunk_row(benchmark::State& state) {
  const catalog::ChunkKey key{.plain_bytes = 1 << 20};
  const auto bytes = catalog::chunk_key(key);
  const auto value =
      catalog::encode_chunk(key, {.offset = 1 << 20, .stored_bytes = 1 << 20, .references = 1});
  for (auto _ : state) benchmark::DoNotOptimize(catalog::decode_chunk(bytes, value));
}
BENCHMARK(decode_chunk_row);

/// A catalog with so many chunks.
class ScratchCatalog {
 public:
  explicit ScratchCatalog(std::uint64_t chunks) {
    std::string name = (std::filesystem::temp_directory_path() / "cairn-micro-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    directory_ = name;
    const auto catalog = catalog::Catalog::create(file());
    auto change = catalog.write();
    change.put_info({.sequence = 1});
    std::mt19937_64 random(1);
    for (std::uint64_t i = 0; i < chunks; ++i) {
      catalog::ChunkKey key{.plain_bytes = 1 << 20};
      for (std::byte& byte : key.id.bytes) byte = static_cast<std::byte>(random());
      change.put_chunk(key, {.offset = i << 20, .stored_bytes = 1 << 20, .references = 1});
      keys_.push_back(key);
    }
    change.commit();
    std::shuffle(keys_.begin(), keys_.end(), random);
  }
  ~ScratchCatalog() {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  ScratchCatalog(const ScratchCatalog&) = delete;
  ScratchCatalog& operator=(const ScratchCatalog&) = delete;

  std::filesystem::path file() const { return directory_ / "catalog.mdb"; }
  const std::vector<catalog::ChunkKey>& keys() const noexcept { return keys_; }

 private:
  std::filesystem::path directory_;
  std::vector<catalog::ChunkKey> keys_;  // in no order
};

void look_up_a_chunk(benchmark::State& state) {
  const ScratchCatalog scratch(count_of(state));
  const auto catalog = catalog::Catalog::open(scratch.file(), catalog::Mode::kReadOnly);
  const auto view = catalog.read();
  std::size_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(view.chunk(scratch.keys()[i]));
    i = (i + 1) % scratch.keys().size();
  }
}
BENCHMARK(look_up_a_chunk)->Arg(1000)->Arg(1'000'000);

/// What a kept chunk costs a commit: its row with one reference more.
void change_a_chunk(benchmark::State& state) {
  const ScratchCatalog scratch(count_of(state));
  const auto catalog = catalog::Catalog::open(scratch.file(), catalog::Mode::kReadWrite);
  auto change = catalog.write();
  std::size_t i = 0;
  const auto change_next = [&] {
    change.put_chunk(scratch.keys()[i],
                     {.offset = i << 20, .stored_bytes = 1 << 20, .references = 2});
    if (++i == scratch.keys().size()) i = 0;
  };
  // The first change of a page copies it.
  for (std::size_t n = 0; n < scratch.keys().size(); ++n) change_next();
  for (auto _ : state) change_next();
}
BENCHMARK(change_a_chunk)->Arg(1000)->Arg(1'000'000);

/// A commit's work in the catalog for chunks that are stored and stay: so many kept, of so many.
/// Time is for all; `a_chunk` is that of one. What it changes is rolled back, not written.
void keep_chunks(benchmark::State& state) {
  const ScratchCatalog scratch(count_of(state));
  const auto catalog = catalog::Catalog::open(scratch.file(), catalog::Mode::kReadWrite);
  const auto kept = static_cast<std::ptrdiff_t>(state.range(1));
  const std::vector<catalog::ChunkKey> keys(scratch.keys().begin(), scratch.keys().begin() + kept);
  for (auto _ : state) {
    const auto view = catalog.read();
    store::ReferenceChanges references(view);
    references.add(keys);
    auto change = catalog.write();
    for (const auto& [key, row] : references.changed_rows()) change.put_chunk(key, row);
  }
  using benchmark::Counter;
  state.counters["a_chunk"] =
      Counter(static_cast<double>(kept), Counter::kIsIterationInvariantRate | Counter::kInvert);
}
BENCHMARK(keep_chunks)
    ->Args({1000, 1000})
    ->Args({1'000'000, 1000})
    ->Args({1'000'000, 100'000})
    ->Args({1'000'000, 1'000'000})
    ->Unit(benchmark::kMillisecond);

void vet_the_catalog(benchmark::State& state) {
  const ScratchCatalog scratch(count_of(state));
  for (auto _ : state) catalog::Catalog::open(scratch.file(), catalog::Mode::kReadOnly);
  done_items(state);
  state.SetBytesProcessed(state.iterations() *
                          static_cast<std::int64_t>(std::filesystem::file_size(scratch.file())));
}
BENCHMARK(vet_the_catalog)->Arg(1000)->Arg(100'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace cairn

BENCHMARK_MAIN();
