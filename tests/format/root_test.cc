#include "format/root.h"

#include "expect_error.h"
#include "fixed_parts.h"
#include "format/pack_generated.h"
#include "format/payload.h"
#include "format/record.h"
#include "raw_index.h"

#include <algorithm>
#include <functional>
#include <random>
#include <string>

namespace cairn::format {
namespace {

constexpr std::uint64_t kMaxEnd = kDataBegin + 100 * kAlignment;

RootEntry entry(std::uint64_t id, std::string name) {
  RootEntry entry;
  entry.id = id;
  entry.sequence = id;
  entry.name = std::move(name);
  entry.index = {kDataBegin + 2 * id * kAlignment, 4097};
  entry.index_digest = some_digest(id);
  return entry;
}

Root some_root() {
  Root root;
  root.sequence = 9;
  root.parent_sequence = 8;
  root.parent_digest = some_digest(8);
  root.next_id = 10;
  root.checkpoints = {entry(1, "one"), entry(4, "four"), entry(5, "a")};
  root.checkpoints[1].pinned = true;
  root.checkpoints[2].damaged = true;
  return root;
}

/// What a payload is made of, open to every contradiction.
struct RawRoot {
  Root root = some_root();
  std::vector<fb::RootEntry> entries{};
  std::string names = "onefoura";
  bool with_parent_digest = true;
  bool misaligned = false;

  RawRoot() {
    for (const RootEntry& e : root.checkpoints) entries.push_back(raw(e));
  }

  static fb::RootEntry raw(const RootEntry& e, std::uint16_t flags = 0,
                           std::uint32_t reserved = 0) {
    return {e.id,
            e.sequence,
            e.index.offset,
            e.index.bytes,
            copy_digest<fb::Digest>(e.index_digest),
            static_cast<std::uint16_t>(e.name.size()),
            flags,
            reserved};
  }

  std::vector<std::byte> payload() const {
    flatbuffers::FlatBufferBuilder builder;
    const auto digest = copy_digest<fb::Digest>(root.parent_digest);
    using Entries = flatbuffers::Offset<flatbuffers::Vector<const fb::RootEntry*>>;
    const auto checkpoints = misaligned ? misaligned_vector<Entries>(builder, entries)
                                        : builder.CreateVectorOfStructs(entries);
    const auto name_bytes =
        builder.CreateVector(reinterpret_cast<const std::uint8_t*>(names.data()), names.size());
    return finish(builder,
                  fb::CreateRoot(builder, root.sequence, root.parent_sequence,
                                 with_parent_digest ? &digest : nullptr, root.next_id, checkpoints,
                                 name_bytes),
                  "CNRT");
  }
};

void expect_raw_refused(const RawRoot& raw, std::string_view text) {
  expect_error(ErrorCode::kDamaged, text, [&] { decode_root(raw.payload(), kMaxEnd); });
}

/// Refused in both directions.
void expect_refused(const std::function<void(Root&)>& change, std::string_view text) {
  RawRoot raw;
  change(raw.root);
  raw.entries.clear();
  raw.names.clear();
  for (const RootEntry& e : raw.root.checkpoints) {
    raw.entries.push_back(RawRoot::raw(e));
    raw.names += e.name;
  }
  expect_raw_refused(raw, text);
  expect_error(ErrorCode::kInvalidArgument, text, [&] { encode_root(raw.root); });
}

TEST(Root, ComesBackAsItWasWritten) {
  EXPECT_EQ(decode_root(encode_root(some_root()), kMaxEnd), some_root());
}

TEST(Root, MayBeEmpty) {
  Root root;
  root.sequence = 1;
  EXPECT_EQ(decode_root(encode_root(root), 0), root);
}

TEST(Root, HasEqualBytesForEqualRoots) {
  EXPECT_EQ(encode_root(some_root()), encode_root(some_root()));
}

TEST(Root, TakesLittleMoreThanItsEntries) {
  Root root = some_root();
  const std::size_t before = encode_root(root).size();
  for (std::uint64_t id = 10; id < 110; ++id) {
    root.checkpoints.push_back(entry(id, std::to_string(id + 10'000'000)));
    root.checkpoints.back().sequence = 9;
  }
  root.next_id = 110;
  EXPECT_LE(encode_root(root).size(), before + 100 * (sizeof(fb::RootEntry) + 8) + 8);
}

/// The root after a change, made the plain way.
Root next_of(const Root& root, const RootChange& change) {
  Root next{.sequence = change.sequence,
            .parent_sequence = change.parent_sequence,
            .parent_digest = change.parent_digest,
            .next_id = change.next_id};
  for (const RootEntry& e : root.checkpoints) {
    if (std::find(change.removed.begin(), change.removed.end(), e.id) != change.removed.end()) {
      continue;
    }
    next.checkpoints.push_back(e);
    for (const RootChange::Flags& flags : change.flags) {
      if (flags.id != e.id) continue;
      next.checkpoints.back().pinned = flags.pinned;
      next.checkpoints.back().damaged = flags.damaged;
    }
  }
  if (change.added) next.checkpoints.push_back(*change.added);
  return next;
}

RootChange some_change() {
  return {.sequence = 10, .parent_sequence = 9, .parent_digest = some_digest(9), .next_id = 11};
}

TEST(Root, OfTheNextCommitIsMadeFromTheOneBefore) {
  std::mt19937_64 random(7);
  Root root = some_root();
  std::vector<std::byte> payload = encode_root(root);
  for (int step = 0; step < 500; ++step) {
    RootChange change{.sequence = root.sequence + 1 + random() % 2,
                      .parent_sequence = root.sequence,
                      .parent_digest = base::xxh3_128(payload),
                      .next_id = root.next_id + random() % 2};
    for (const RootEntry& e : root.checkpoints) {
      if (random() % 8 == 0) {
        change.removed.push_back(e.id);
      } else if (random() % 4 == 0) {
        change.flags.push_back(
            {.id = e.id, .pinned = random() % 2 == 0, .damaged = random() % 2 == 0});
      }
    }
    if (random() % 4 != 0) {
      const std::uint64_t id = change.next_id++;
      change.added = entry(id, std::string(1 + random() % 9, 'n') + std::to_string(id));
      change.added->pinned = random() % 2 == 0;
      change.added->sequence = change.sequence;
    }
    root = next_of(root, change);
    payload = encode_next_root(payload, change);
    ASSERT_EQ(payload, encode_root(root)) << "step " << step;
  }
}

TEST(Root, OfTheNextCommitMayBeEmptyAndBeginFromAnEmptyOne) {
  RootChange change = some_change();
  change.removed = {1, 4, 5};
  const auto empty = encode_next_root(encode_root(some_root()), change);
  EXPECT_EQ(empty, encode_root(next_of(some_root(), change)));
  RootChange again = some_change();
  again.sequence = 11;
  again.next_id = 12;
  again.added = entry(11, "first");
  EXPECT_EQ(encode_next_root(empty, again), encode_root(next_of({}, again)));
}

TEST(Root, OfTheNextCommitRefusesWhatContradictsTheOneBefore) {
  const auto refused = [](const std::function<void(RootChange&)>& make, std::string_view text) {
    RootChange change = some_change();
    make(change);
    expect_error(ErrorCode::kInvalidArgument, text,
                 [&] { encode_next_root(encode_root(some_root()), change); });
  };
  const auto adding = [&](const std::function<void(RootEntry&)>& make, std::string_view text) {
    refused(
        [&](RootChange& change) {
          change.added = entry(10, "ten");
          make(*change.added);
        },
        text);
  };
  refused([](RootChange& c) { c.removed = {3}; }, "no checkpoint 3 to remove");
  refused([](RootChange& c) { c.removed = {4, 4}; }, "no checkpoint 4 to remove");
  refused([](RootChange& c) { c.flags = {{.id = 3}}; }, "no checkpoint 3 to change");
  refused(
      [](RootChange& c) {
        c.removed = {4};
        c.flags = {{.id = 4}};
      },
      "no checkpoint 4 to change");
  refused([](RootChange& c) { c.sequence = 9; }, "goes back");
  refused([](RootChange& c) { c.next_id = 9; }, "goes back");
  adding([](RootEntry& e) { e.id = 5; }, "ids are not ascending: 5 after 5");
  adding([](RootEntry& e) { e.id = 11; }, "next id 11 is not above the last id 11");
  adding([](RootEntry& e) { e.name = "four"; }, "two checkpoints in the root have the name");
  adding([](RootEntry& e) { e.name = "a/b"; }, "holds a '/'");
  adding([](RootEntry& e) { e.sequence = 11; }, "checkpoint 10 has sequence 11");
  adding([](RootEntry& e) { e.index.offset = kDataBegin + 9 * kAlignment; },
         "the indexes of checkpoints 4 and 10 overlap");
  adding([](RootEntry& e) { ++e.index.offset; }, "not at a multiple of");
}

TEST(Root, RefusesSequencesThatContradictEachOther) {
  expect_refused([](Root& r) { r.sequence = 0; }, "the root's sequence is 0");
  expect_refused([](Root& r) { r.parent_sequence = 9; },
                 "parent sequence 9 is not below its sequence 9");
  expect_refused([](Root& r) { r.parent_sequence = 0; }, "a parent's digest but no parent");
  expect_refused([](Root& r) { r.checkpoints[0].sequence = 10; },
                 "checkpoint 1 has sequence 10; the root has 9");
  expect_refused([](Root& r) { r.checkpoints[0].sequence = 0; }, "checkpoint 1 has sequence 0");
}

TEST(Root, RefusesIdsOutOfOrder) {
  expect_refused([](Root& r) { r.checkpoints[1].id = 1; }, "not ascending: 1 after 1");
  expect_refused([](Root& r) { r.checkpoints[2].id = 3; }, "not ascending: 3 after 4");
  expect_refused([](Root& r) { r.checkpoints[0].id = 0; }, "not ascending: 0 after 0");
  expect_refused([](Root& r) { r.next_id = 5; }, "next id 5 is not above the last id 5");
  expect_refused([](Root& r) { r = {.sequence = 1, .next_id = 0}; }, "next id 0");
}

TEST(Root, RefusesNamesThatAreInvalidOrTakenTwice) {
  expect_refused([](Root& r) { r.checkpoints[2].name = "one"; },
                 "two checkpoints in the root have the name \"one\"");
  expect_refused([](Root& r) { r.checkpoints[2].name = ""; }, "checkpoint name \"\" is empty");
  expect_refused([](Root& r) { r.checkpoints[2].name = "latest"; }, "reserved word");
  expect_refused([](Root& r) { r.checkpoints[2].name.assign(256, 'x'); }, "is 256 bytes long");
}

TEST(Root, RefusesIndexesOutOfPlace) {
  expect_refused([](Root& r) { r.checkpoints[0].index.offset = 0; },
                 "the index of checkpoint 1 lies at 0");
  expect_refused([](Root& r) { r.checkpoints[0].index.offset += 512; },
                 "not at a multiple of 4096");
  expect_refused([](Root& r) { r.checkpoints[0].index.bytes = kRecordHeaderBytes; },
                 "has a length of 128; allowed are 129 to");
  expect_refused([](Root& r) { r.checkpoints[0].index.offset = ~std::uint64_t{4095}; },
                 "runs beyond");
  expect_refused([](Root& r) { r.checkpoints[0].index = r.checkpoints[1].index; },
                 "the indexes of checkpoints 1 and 4 overlap");
  expect_refused([](Root& r) { r.checkpoints[0].index.offset += 5 * kAlignment; },
                 "the indexes of checkpoints 1 and 4 overlap");
}

TEST(Root, RefusesIndexesBeyondTheEndThatTheCallerKnows) {
  const std::uint64_t end = some_root().checkpoints[2].index.offset + 4097;
  EXPECT_EQ(decode_root(encode_root(some_root()), end), some_root());
  expect_error(ErrorCode::kDamaged,
               "the index of checkpoint 5 at 172032 with 4097 bytes runs beyond",
               [&] { decode_root(encode_root(some_root()), end - 1); });
}

TEST(Root, RefusesUnknownFlagsAndReservedBytes) {
  for (const std::uint16_t flags : {0x4, 0x8000}) {
    RawRoot raw;
    raw.entries[1] = RawRoot::raw(raw.root.checkpoints[1], flags);
    expect_raw_refused(raw, "a reserved flag or byte of checkpoint 4 in the root is not zero");
  }
  RawRoot raw;
  raw.entries[1] = RawRoot::raw(raw.root.checkpoints[1], 0, 1);
  expect_raw_refused(raw, "a reserved flag or byte of checkpoint 4 in the root is not zero");
}

TEST(Root, RefusesNamesThatDoNotFitTheEntries) {
  RawRoot raw;
  raw.names = "onefour";
  expect_raw_refused(raw, "the name of checkpoint 5 runs beyond the root's names");
  raw.names = "onefouraxx";
  expect_raw_refused(raw, "2 bytes of the root's names belong to no checkpoint");
}

TEST(Root, RefusesAMissingParentDigest) {
  RawRoot raw;
  raw.with_parent_digest = false;
  expect_raw_refused(raw, "no digest of its parent");
}

TEST(Root, RefusesMisalignedEntries) {
  RawRoot raw;
  raw.misaligned = true;
  expect_raw_refused(raw, "the payload's checkpoints are not aligned");
}

TEST(Root, RefusesAnotherIdentifier) {
  std::vector<std::byte> payload = encode_root(some_root());
  payload[7] = std::byte{'X'};
  expect_error(ErrorCode::kDamaged, "identifier is not \"CNRT\"",
               [&] { decode_root(payload, kMaxEnd); });
}

TEST(Root, SurvivesBeingCutShortAnywhere) {
  const std::vector<std::byte> payload = encode_root(some_root());
  for (std::size_t length = 0; length < payload.size(); ++length) {
    // The last bytes may be padding, without which nothing is lost.
    try {
      EXPECT_EQ(decode_root(std::span(payload).first(length), kMaxEnd), some_root());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged) << length;
    }
  }
}

TEST(Root, ThatIsAcceptedWithAFlippedBitCanBeWrittenAgain) {
  const std::vector<std::byte> payload = encode_root(some_root());
  for (std::size_t bit = 0; bit < payload.size() * 8; ++bit) {
    try {
      const Root root = decode_root(with_bit_flipped(payload, bit), kMaxEnd);
      EXPECT_EQ(decode_root(encode_root(root), kMaxEnd), root) << "bit " << bit;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kDamaged) << "bit " << bit;
    }
  }
}

}  // namespace
}  // namespace cairn::format
