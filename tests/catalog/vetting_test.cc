// Damage to the file. A good answer is the rows that were there, or an error that says damaged;
// what kills the process, hangs it or gives other rows is the failure that these tests look for.
#include "catalog/vetting.h"

#include "base/little_endian.h"
#include "catalog/child.h"
#include "catalog/sample.h"
#include "support/scratch.h"

#include <cairn/error.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <utility>

namespace cairn::catalog {
namespace {

using namespace sample;
using cairn::testing::ScratchDirectory;

constexpr std::uint64_t kPage = 4096;
constexpr std::uint16_t kOverflowFlag = 4;

enum class Verdict { kRight, kRefused };

class Vetting : public ::testing::Test {
 protected:
  // Makes `make`'s catalog the one that is damaged.
  template <typename Make>
  void begin(const Make& make) {
    make(file_);
    image_ = read_file(file_);
    right_ = contents();
    ASSERT_EQ(image_.size() % kPage, 0U);
  }

  std::uint64_t pages() const { return image_.size() / kPage; }

  Contents contents() const { return contents_of(Catalog::open(file_, Mode::kReadWrite).read()); }

  // What becomes of the file as it stands. Records a failure unless it is refused as damaged or its
  // rows are right; `also_right` are rows that are as good (of an older commit).
  Verdict judge(const std::string& what, const Contents* also_right = nullptr) {
    refusal_.clear();
    try {
      const Catalog catalog = Catalog::open(file_, Mode::kReadWrite);
      const Contents found = contents_of(catalog.read());
      EXPECT_TRUE(found == right_ || (also_right != nullptr && found == *also_right)) << what;
      change_everything(catalog, found);
      return Verdict::kRight;
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated ||
                  error.code() == ErrorCode::kUnsupportedVersion)
          << what << ": " << error.what();
      refusal_ = error.what();
      return Verdict::kRefused;
    }
  }

  // A write transaction that follows every pointer which a writer can follow, and splits and merges
  // pages. Rolled back, except now and then.
  void change_everything(const Catalog& catalog, const Contents& rows) {
    WriteTransaction transaction = catalog.write();
    InfoRow info = rows.info;
    transaction.put_info(info);
    for (const CheckpointRow& row : rows.checkpoints) transaction.erase_checkpoint(row.id);
    for (std::uint64_t i = 0; i < 3; ++i) {
      transaction.put_checkpoint(checkpoint_row_of_bytes(5000 + i, 1700 * i));
    }
    for (std::uint64_t i = 0; i < 60; ++i) {
      transaction.put_chunk(chunk_key_of(1'000'000 + i), chunk_row(i));
    }
    for (const auto& row : rows.chunks) transaction.erase_chunk(row.first);
    for (const FreeRow& row : rows.free) transaction.erase_free(row.offset);
    for (const FreeRow& row : rows.free) transaction.put_free(row);
    if (++changes_ % kCommitEvery != 0) return;
    ASSERT_EQ(transaction.commit(), CommitOutcome::kCommitted);
    EXPECT_EQ(catalog.read().chunk_rows(), 60U);
    EXPECT_EQ(Catalog::open(file_, Mode::kReadOnly).read().chunk_rows(), 60U);
    is_changed_ = true;
  }

  // Puts `bytes` at `offset`, judges, and puts the image back.
  Verdict judge_with(std::uint64_t offset, std::span<const std::byte> bytes,
                     const std::string& what, const Contents* also_right = nullptr) {
    write_at(file_, offset, bytes);
    const Verdict verdict = judge(what, also_right);
    if (std::exchange(is_changed_, false)) {
      write_file(file_, image_);
    } else {
      write_at(file_, offset, std::span(image_).subspan(offset, bytes.size()));
    }
    return verdict;
  }

  Verdict judge_flip(std::uint64_t offset, std::uint8_t bits) {
    const std::array flipped = {image_[offset] ^ std::byte{bits}};
    return judge_with(offset, flipped,
                      "byte " + std::to_string(offset) + " flipped by " + std::to_string(bits));
  }

  template <typename Number>
  Verdict judge_number(std::uint64_t offset, Number number) {
    std::array<std::byte, sizeof(Number)> bytes;
    base::store_le(std::span<std::byte>(bytes), 0, number);
    return judge_with(offset, bytes, "number at " + std::to_string(offset));
  }

  std::span<const std::byte> page(std::uint64_t number) const {
    return std::span(image_).subspan(number * kPage, kPage);
  }

  std::uint64_t newest_meta() const {
    const auto of = [&](std::uint64_t p) {
      return base::load_le<std::uint64_t>(page(p), 144 + 16);
    };
    return of(0) > of(1) ? 0 : 1;
  }

  static constexpr int kCommitEvery = 500;
  ScratchDirectory directory_;
  std::filesystem::path file_ = directory_ / "catalog.mdb";
  Image image_;
  Contents right_;
  int changes_ = 0;
  bool is_changed_ = false;
  std::string refusal_;  // what the last damage was refused with
};

using SlowVetting = Vetting;

TEST_F(Vetting, FindsOneFlippedBitOfAnyByteOrGivesTheRightRows) {
  begin(make_small_catalog);
  std::uint64_t refused = 0;
  for (std::uint64_t offset = 0; offset < image_.size(); ++offset) {
    const bool is_start = offset % kPage < 64;
    if (!is_start && offset % 41 != 0) continue;
    refused +=
        judge_flip(offset, static_cast<std::uint8_t>(1U << (offset % 8))) == Verdict::kRefused;
  }
  EXPECT_GT(refused, image_.size() / 100);
}

TEST_F(SlowVetting, FindsAnyFlippedBitOfAnyByteOrGivesTheRightRows) {
  begin(make_small_catalog);
  for (std::uint64_t offset = 0; offset < image_.size(); ++offset) {
    const auto flags = base::load_le<std::uint16_t>(page(offset / kPage), 10);
    const bool is_structure = offset % kPage < 256 || flags != kOverflowFlag;
    for (unsigned bit = 0; bit < 8; ++bit) {
      if (is_structure || bit == offset % 8)
        judge_flip(offset, static_cast<std::uint8_t>(1U << bit));
    }
  }
}

TEST_F(Vetting, FindsPagesZeroedOrFilled) {
  begin(make_small_catalog);
  for (const std::uint8_t fill : {0x00, 0xff, 0x5a}) {
    const Image filled(kPage, std::byte{fill});
    for (std::uint64_t p = 0; p < pages(); ++p) {
      judge_with(p * kPage, filled, "page " + std::to_string(p) + " filled");
    }
  }
}

TEST_F(Vetting, FindsPagesWrittenOverOthers) {
  begin(make_small_catalog);
  for (std::uint64_t to = 0; to < pages(); ++to) {
    for (std::uint64_t from = 0; from < pages(); ++from) {
      judge_with(to * kPage, page(from),
                 "page " + std::to_string(from) + " over page " + std::to_string(to));
    }
  }
}

TEST_F(Vetting, FindsPagesSwapped) {
  begin(make_small_catalog);
  for (std::uint64_t a = 0; a < pages(); ++a) {
    for (std::uint64_t b = 0; b < a; ++b) {
      Image swapped = image_;
      std::swap_ranges(swapped.begin() + static_cast<std::ptrdiff_t>(a * kPage),
                       swapped.begin() + static_cast<std::ptrdiff_t>((a + 1) * kPage),
                       swapped.begin() + static_cast<std::ptrdiff_t>(b * kPage));
      judge_with(0, swapped, "pages " + std::to_string(a) + " and " + std::to_string(b));
    }
  }
}

TEST_F(Vetting, FindsPagesOfTheCommitBefore) {
  begin(make_small_catalog);
  const Contents before = right_;
  const Image older = image_;
  commit(Catalog::open(file_, Mode::kReadWrite), [](WriteTransaction& t) {
    t.put_info(info_row(30));
    t.put_checkpoint(checkpoint_row(3));
    t.put_chunk(chunk_key_of(77'777), chunk_row(1));
  });
  image_ = read_file(file_);
  right_ = contents();
  for (std::uint64_t p = 0; p < older.size() / kPage; ++p) {
    const auto bytes = std::span(older).subspan(p * kPage, kPage);
    // A whole older meta page is a commit that never happened.
    const bool is_newest_meta = p == newest_meta();
    judge_with(p * kPage, bytes, "older page " + std::to_string(p),
               is_newest_meta ? &before : nullptr);
  }
}

// A page that LMDB wrote for an earlier commit, under the same number and with as many rows, is
// right in all that the page itself can show: only the sum of all rows tells.
TEST_F(Vetting, FindsAnyPageOfAnyEarlierCommit) {
  make_catalog(file_);
  std::vector<Image> images;
  std::vector<Contents> rows;
  for (std::uint64_t i = 0; i < 24; ++i) {
    {
      const Catalog catalog = Catalog::open(file_, Mode::kReadWrite);
      commit(catalog, [i](WriteTransaction& t) {
        if (i == 0) {
          for (std::uint64_t c = 0; c < 120; ++c) t.put_chunk(chunk_key_of(c), chunk_row(c));
          for (std::uint64_t f = 0; f < 40; ++f) t.put_free(free_row(f));
        }
        t.put_chunk(chunk_key_of(i), chunk_row(1000 + i));
        t.erase_free(free_row(i).offset);
        t.put_free(free_row(100 + i));
        t.put_info(info_row(i));
      });
    }
    images.push_back(read_file(file_));
    rows.push_back(contents());
  }
  begin([](const std::filesystem::path&) {});
  const Contents& before = rows[rows.size() - 2];
  int told_by_sum = 0;
  for (std::size_t then = 0; then + 1 < images.size(); ++then) {
    for (std::uint64_t p = 0; p < images[then].size() / kPage; ++p) {
      const std::string what = "page " + std::to_string(p) + " of commit " + std::to_string(then);
      // A whole older meta page is a commit that never happened.
      judge_with(p * kPage, std::span(images[then]).subspan(p * kPage, kPage), what,
                 p < 2 ? &before : nullptr);
      if (refusal_.find("older than the rest") != std::string::npos) ++told_by_sum;
    }
  }
  EXPECT_GT(told_by_sum, 0);
}

TEST_F(Vetting, FindsAFileCutAnywhere) {
  begin(make_small_catalog);
  std::uint64_t refused = 0;
  for (std::uint64_t bytes = 0; bytes < image_.size(); bytes += 512) {
    write_file(file_, std::span(image_).first(bytes));
    refused += judge("cut to " + std::to_string(bytes)) == Verdict::kRefused;
    write_file(file_, image_);
    is_changed_ = false;
  }
  EXPECT_GT(refused, 10U);
}

TEST_F(Vetting, SaysWhatIsNoCatalogAtAll) {
  const auto message_of = [&](std::span<const std::byte> bytes) -> std::string {
    write_file(file_, bytes);
    try {
      Catalog::open(file_, Mode::kReadWrite);
      return "opened";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged) << error.what();
      return error.what();
    }
  };
  EXPECT_NE(message_of({}).find("empty"), std::string::npos);
  const std::string text = "I am a text file, and not even a long one.\n";
  EXPECT_NE(message_of(std::as_bytes(std::span(text))).find("ends"), std::string::npos);
  Image bytes(20'000, std::byte{'x'});
  EXPECT_NE(message_of(bytes).find("no LMDB file"), std::string::npos);
  std::mt19937_64 random(1);
  for (int i = 0; i < 50; ++i) {
    bytes.resize(random() % 20'000);
    for (std::byte& b : bytes) b = static_cast<std::byte>(random());
    EXPECT_NE(message_of(bytes), "opened");
  }
}

TEST_F(Vetting, TellsLmdbsNewerFormatFromDamage) {
  begin(make_small_catalog);
  const auto put_version = [&](std::uint64_t meta) {
    std::array<std::byte, 4> two = {std::byte{2}};
    write_at(file_, meta * kPage + 20, two);
  };
  const auto code = [&] {
    try {
      Catalog::open(file_, Mode::kReadWrite);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::kIo;
  };
  put_version(0);
  EXPECT_EQ(code(), ErrorCode::kDamaged);
  put_version(1);
  EXPECT_EQ(code(), ErrorCode::kUnsupportedVersion);
}

// What LMDB writes must pass: commit after commit of rows of all sizes, put, changed and erased,
// while readers hold old pages back, so that free lists grow, spill into overflow pages and shrink.
void live_a_random_life(const std::filesystem::path& file, std::uint64_t seed, int commits) {
  make_catalog(file);
  const Catalog catalog = Catalog::open(file, Mode::kReadWrite);
  std::mt19937_64 random(seed);
  std::map<std::uint64_t, CheckpointRow> checkpoints;
  std::map<std::uint64_t, std::uint64_t> chunks;                  // number -> row
  std::deque<std::pair<ReadTransaction, std::uint64_t>> readers;  // with its number of chunks
  for (int i = 0; i < commits; ++i) {
    commit(catalog, [&](WriteTransaction& t) {
      t.put_info(info_row(static_cast<std::uint64_t>(i)));
      const bool is_large = random() % 10 == 0;
      for (std::uint64_t n = random() % (is_large ? 3000 : 60); n > 0; --n) {
        const std::uint64_t chunk = random() % 6000;
        if (random() % 3 != 0) {
          t.put_chunk(chunk_key_of(chunk), chunk_row(n));
          chunks[chunk] = n;
        } else if (chunks.erase(chunk) != 0) {
          t.erase_chunk(chunk_key_of(chunk));
        }
      }
      for (std::uint64_t n = random() % 6; n > 0; --n) {
        const std::uint64_t id = 1 + random() % 20;
        if (random() % 3 != 0) {
          const CheckpointRow row =
              checkpoint_row_of_bytes(id, random() % (is_large ? 300'000 : 9000));
          t.put_checkpoint(row);
          checkpoints[id] = row;
        } else if (checkpoints.erase(id) != 0) {
          t.erase_checkpoint(id);
        }
      }
      if (random() % 40 == 0) {  // To nothing, and the trees with it.
        for (const auto& chunk : chunks) t.erase_chunk(chunk_key_of(chunk.first));
        chunks.clear();
      }
    });
    if (random() % 4 == 0) readers.emplace_back(catalog.read(), chunks.size());
    if (readers.size() > random() % 12) readers.pop_front();

    const Contents found = contents_of(Catalog::open(file, Mode::kReadWrite).read());
    ASSERT_EQ(found.chunks.size(), chunks.size()) << "commit " << i << " of seed " << seed;
    for (const auto& [number, row] : chunks) {
      ASSERT_EQ(found.chunks.at(chunk_key_of(number)), chunk_row(row));
    }
    ASSERT_EQ(found.checkpoints.size(), checkpoints.size());
    for (const CheckpointRow& row : found.checkpoints) ASSERT_EQ(row, checkpoints.at(row.id));
    for (const auto& [view, rows] : readers) ASSERT_EQ(contents_of(view).chunks.size(), rows);
  }
}

TEST_F(Vetting, AcceptsWhatLmdbWrites) {
  live_a_random_life(file_, 11, 150);
}

TEST_F(SlowVetting, AcceptsWhatLmdbWritesInALongLife) {
  for (const std::uint64_t seed : {21U, 22U, 23U, 24U}) {
    live_a_random_life(directory_ / std::to_string(seed), seed, 800);
  }
}

// A writer commits as fast as it can, while others vet: what is good must never look damaged.
TEST_F(Vetting, IsNotMisledByAWriterAtWork) {
  make_small_catalog(file_);
  Child writer([&](const std::function<void()>& pause) {
    const Catalog catalog = Catalog::open(file_, Mode::kReadWrite);
    for (std::uint64_t i = 0; i < 300; ++i) {
      WriteTransaction t = catalog.write();
      t.put_info(info_row(i));
      for (std::uint64_t c = 0; c < 5; ++c) t.put_chunk(chunk_key_of(i + c), chunk_row(i));
      if (t.commit() != CommitOutcome::kCommitted) return 1;
      if (i == 0) pause();
    }
    return 0;
  });
  ASSERT_TRUE(writer.wait_for_pause());
  writer.let_go_on();
  for (int i = 0; i < 300; ++i) {
    const Catalog catalog = Catalog::open(file_, Mode::kReadOnly);
    EXPECT_EQ(contents_of(catalog.read()).checkpoints.size(), 9U);
  }
  EXPECT_EQ(writer.wait(), 0);
}

// Numbers that a flip of one bit does not reach.
TEST_F(Vetting, BearsExtremeNumbersInEveryStructuralField) {
  begin(make_small_catalog);
  const std::array<std::uint64_t, 9> extremes = {0,
                                                 1,
                                                 2,
                                                 pages() - 1,
                                                 pages(),
                                                 0x7fff'ffff,
                                                 0xffff'ffff,
                                                 ~std::uint64_t{0} >> 1,
                                                 ~std::uint64_t{0}};
  for (std::uint64_t meta = 0; meta < 2; ++meta) {
    for (std::uint64_t at = 0; at < 168; at += 8) {
      for (const std::uint64_t number : extremes) judge_number(meta * kPage + at, number);
    }
  }
  for (std::uint64_t p = 2; p < pages(); ++p) {
    for (std::uint64_t at = 0; at < 48; at += 2) {
      for (const std::uint64_t number : extremes) {
        judge_number(p * kPage + at, static_cast<std::uint16_t>(number));
        if (at % 8 == 0) judge_number(p * kPage + at, number);
      }
    }
  }
}

// Damage that hides from a single flip: several bytes of one page at once.
TEST_F(Vetting, BearsManyRandomChangesAtOnce) {
  begin(make_small_catalog);
  std::mt19937_64 random(2);
  for (int round = 0; round < 3000; ++round) {
    const std::uint64_t at = random() % pages() * kPage;
    Image changed(page(at / kPage).begin(), page(at / kPage).end());
    for (std::uint64_t i = 0; i <= random() % 4; ++i) {
      const std::uint64_t where = random() % 2 == 0 ? random() % 64 : random() % kPage;
      changed[where] = static_cast<std::byte>(random());
    }
    judge_with(at, changed, "round " + std::to_string(round));
  }
}

TEST_F(Vetting, FindsDamageInTreesOfSeveralLevels) {
  begin([](const std::filesystem::path& file) { make_large_catalog(file, 20'000); });
  std::mt19937_64 random(3);
  for (int round = 0; round < 150; ++round) {
    const std::uint64_t p = random() % pages();
    judge_flip(p * kPage + random() % 64, static_cast<std::uint8_t>(1U << random() % 8));
  }
}

TEST_F(Vetting, RefusesAPageThatTwoTreesUse) {
  begin(make_small_catalog);
  // Each 8-byte number in the pages of tables that is a page's: point it at page 2, 3, ...
  std::uint64_t refused = 0;
  for (std::uint64_t p = 2; p < pages(); ++p) {
    for (std::uint64_t at = 16; at + 8 <= kPage; at += 2) {
      const auto number = base::load_le<std::uint64_t>(page(p), at);
      if (number < 2 || number >= pages()) continue;
      for (const std::uint64_t other : {number - 1, number + 1}) {
        refused += judge_number(p * kPage + at, other) == Verdict::kRefused;
      }
    }
  }
  EXPECT_GT(refused, 20U);
}

TEST_F(Vetting, TellsWhichTransactionIsGone) {
  begin(make_small_catalog);
  const io::File file = io::File::open(file_, io::File::Access::kRead);
  const LmdbMeta meta = vet_meta_pages(file);
  EXPECT_EQ(meta.page_bytes, kPage);
  EXPECT_TRUE(vet_snapshot(file, meta.transaction));
  EXPECT_FALSE(vet_snapshot(file, meta.transaction - 2));
  EXPECT_THROW(vet_snapshot(file, meta.transaction + 2), Error);
}

TEST_F(Vetting, VetsAgainWhenTheEnvironmentIsOpenAlready) {
  begin(make_small_catalog);
  const Catalog open_already = Catalog::open(file_, Mode::kReadWrite);
  std::uint64_t refused = 0;
  for (std::uint64_t p = 2; p < pages(); ++p) {
    const Image zeros(kPage);
    write_at(file_, p * kPage, zeros);
    try {
      Catalog::open(file_, Mode::kReadWrite);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged);
      ++refused;
    }
    write_at(file_, p * kPage, page(p));
  }
  EXPECT_GT(refused, 5U);
  EXPECT_EQ(contents_of(open_already.read()), right_);
}

}  // namespace
}  // namespace cairn::catalog
