#include "catalog/sample.h"

#include "base/digest.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace cairn::catalog::sample {
namespace {

std::uint64_t mixed(std::uint64_t number) {
  return base::xxh3_64(std::as_bytes(std::span(&number, 1)));
}

base::Digest128 digest_of(std::uint64_t number) {
  return base::xxh3_128(std::as_bytes(std::span(&number, 1)));
}

}  // namespace

Contents contents_of(const ReadTransaction& view) {
  Contents contents;
  contents.info = view.info();
  contents.info.transaction = 0;
  contents.info.row_sum = 0;
  view.for_each_checkpoint([&](const CheckpointRow& row) { contents.checkpoints.push_back(row); });
  view.for_each_chunk(
      [&](const ChunkKey& key, const ChunkRow& row) { contents.chunks.emplace(key, row); });
  view.for_each_free([&](const FreeRow& row) { contents.free.push_back(row); });
  return contents;
}

InfoRow info_row(std::uint64_t number) {
  InfoRow row;
  std::memcpy(row.uuid.data(), digest_of(7).bytes.data(), row.uuid.size());
  row.sequence = number + 1;
  row.next_id = number + 2;
  row.root = {.first = {4096 * (number + 40), number + 500},
              .second = {4096 * (number + 90), number + 500},
              .digest = digest_of(number)};
  row.parent_sequence = number;
  row.parent_digest = digest_of(number + 1);
  row.data_end = 4096 * (number + 100);
  return row;
}

CheckpointRow checkpoint_row(std::uint64_t id) {
  CheckpointRow row;
  row.id = id;
  row.sequence = id + 10;
  row.name = "checkpoint-" + std::to_string(id);
  row.pinned = id % 2 == 0;
  row.damaged = id % 3 == 0;
  row.index = {.offset = 4096 * (id + 32), .bytes = 1000 + id};
  row.index_digest = digest_of(id);
  row.summary.created_unix_ns = static_cast<std::int64_t>(mixed(id) >> 1);
  row.summary.meta.set("loss", static_cast<double>(id) / 3);
  row.summary.recoverables = {"model", "optimizer"};
  row.summary.tensors = 3 * id;
  row.summary.logical_bytes = 12 * id;
  return row;
}

CheckpointRow checkpoint_row_of_bytes(std::uint64_t id, std::size_t meta_bytes) {
  CheckpointRow row = checkpoint_row(id);
  row.summary.meta.set("text", std::string(meta_bytes, static_cast<char>('a' + id % 26)));
  return row;
}

ChunkKey chunk_key_of(std::uint64_t number) {
  return {.id = digest_of(number), .plain_bytes = 100 + number};
}

ChunkRow chunk_row(std::uint64_t number) {
  return {.offset = 4096 * (number + 32),
          .stored_bytes = 100 + number,
          .encoding = format::Encoding::kRaw,
          .references = number + 1};
}

FreeRow free_row(std::uint64_t number) {
  return {.offset = 4096 * (3 * number + 1000), .bytes = 8192, .freed_by = number};
}

Image read_file(const std::filesystem::path& file) {
  const io::File in = io::File::open(file, io::File::Access::kRead);
  Image image(in.bytes());
  in.read_exactly(0, image);
  return image;
}

void write_file(const std::filesystem::path& file, std::span<const std::byte> bytes) {
  const io::File out = io::File::open_or_create(file);
  if (out.bytes() != bytes.size()) out.resize(bytes.size());
  out.write(0, bytes);
}

void write_at(const std::filesystem::path& file, std::uint64_t offset,
              std::span<const std::byte> bytes) {
  io::File::open(file, io::File::Access::kReadWrite).write(offset, bytes);
}

void commit(const Catalog& catalog, const std::function<void(WriteTransaction&)>& change) {
  WriteTransaction transaction = catalog.write();
  change(transaction);
  ASSERT_EQ(transaction.commit(), CommitOutcome::kCommitted);
}

void make_catalog(const std::filesystem::path& file) {
  const Catalog catalog = Catalog::create(file);
  commit(catalog, [](WriteTransaction& t) { t.put_info(info_row(0)); });
}

void make_small_catalog(const std::filesystem::path& file) {
  make_catalog(file);
  const Catalog catalog = Catalog::open(file, Mode::kReadWrite);
  for (std::uint64_t i = 1; i <= 6; ++i) {
    commit(catalog, [i](WriteTransaction& t) {
      t.put_info(info_row(i));
      t.put_checkpoint(checkpoint_row(i));
      t.put_checkpoint(checkpoint_row_of_bytes(i + 100, 3000 * i));
      for (std::uint64_t c = 0; c < 12; ++c) t.put_chunk(chunk_key_of(12 * i + c), chunk_row(c));
      t.put_free(free_row(i));
      t.put_free(free_row(i + 50));
      if (i > 3) {
        t.erase_checkpoint(i + 100 - 3);
        t.erase_free(free_row(i - 3).offset);
        for (std::uint64_t c = 0; c < 12; ++c) t.erase_chunk(chunk_key_of(12 * (i - 3) + c));
      }
    });
  }
}

void make_large_catalog(const std::filesystem::path& file, std::uint64_t chunks) {
  make_catalog(file);
  const Catalog catalog = Catalog::open(file, Mode::kReadWrite);
  constexpr std::uint64_t kCommits = 5;
  for (std::uint64_t i = 0; i < kCommits; ++i) {
    commit(catalog, [&](WriteTransaction& t) {
      t.put_info(info_row(i));
      for (std::uint64_t c = i; c < chunks; c += kCommits) {
        t.put_chunk(chunk_key_of(c), chunk_row(c));
        if (c % 10 == 0) t.put_free(free_row(c));
      }
      for (std::uint64_t c = 0; c < 20; ++c) t.put_checkpoint(checkpoint_row(20 * i + c));
    });
  }
  commit(catalog, [&](WriteTransaction& t) {
    t.put_info(info_row(kCommits));
    for (std::uint64_t c = 0; c < chunks; c += 7) t.erase_chunk(chunk_key_of(c));
    for (std::uint64_t c = 0; c < chunks; c += 20) t.erase_free(free_row(c).offset);
    t.put_checkpoint(checkpoint_row_of_bytes(1000, 200'000));
  });
}

}  // namespace cairn::catalog::sample
