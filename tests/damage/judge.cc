#include "damage/judge.h"

#include "support/counted_new.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <unistd.h>
#include <utility>

namespace cairn::damage {
namespace {

using testing::Bytes;
using testing::Contents;

namespace fs = std::filesystem;

/// What reading may allocate besides what the files themselves justify.
constexpr std::int64_t kMemoryBound = std::int64_t{8} << 20;

const char* file_name(Where where) {
  return where == Where::kPack ? "pack" : "catalog.mdb";
}

void write_at(const fs::path& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
            static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

bool holds_word(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

bool is_damage(const Error& error) {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

std::set<std::string> names_of(const std::map<std::string, Contents>& holds) {
  std::set<std::string> names;
  for (const auto& [name, contents] : holds) names.insert(name);
  return names;
}

std::set<std::string> names_of(const std::vector<CheckpointInfo>& infos) {
  std::set<std::string> names;
  for (const CheckpointInfo& info : infos) names.insert(info.name);
  return names;
}

}  // namespace

Judge::Judge(const Specimen& specimen, fs::path directory)
    : specimen_(specimen), directory_(std::move(directory)), memory_(std::size_t{1} << 20) {
  make_anew();
}

void Judge::make_anew() const {
  fs::remove_all(directory_);
  fs::create_directories(directory_);
  testing::write_file(directory_ / "pack", specimen_.now().pack);
  testing::write_file(directory_ / "catalog.mdb", specimen_.now().catalog);
  testing::write_file(directory_ / "lock", {});
}

void Judge::put(const Harm& harm) const {
  for (const Patch& patch : harm.patches) {
    const fs::path file = directory_ / file_name(patch.where);
    write_at(file, patch.offset, patch.bytes);
    if (harm.put_together) fs::resize_file(file, patch.bytes.size());
  }
  if (harm.cut) fs::resize_file(directory_ / file_name(harm.cut->where), harm.cut->bytes);
  for (const std::string& name : harm.deleted) fs::remove(directory_ / name);
}

void Judge::put_back(const Harm& harm) const {
  if (harm.put_together || !harm.deleted.empty()) return make_anew();
  for (const Patch& patch : harm.patches) {
    const Bytes& right =
        patch.where == Where::kPack ? specimen_.now().pack : specimen_.now().catalog;
    write_at(directory_ / file_name(patch.where), patch.offset,
             std::span(right).subspan(patch.offset, patch.bytes.size()));
  }
  if (harm.cut) {
    const bool is_pack = harm.cut->where == Where::kPack;
    const Bytes& right = is_pack ? specimen_.now().pack : specimen_.now().catalog;
    write_at(directory_ / file_name(harm.cut->where), harm.cut->bytes,
             std::span(right).subspan(harm.cut->bytes));
  }
}

// ---- what must come of it ----------------------------------------------------------------------

std::vector<const Part*> Judge::parts_hit_by(const Harm& harm) const {
  const Bytes& now = specimen_.now().pack;
  std::vector<const Part*> hit;
  for (const Part& part : specimen_.parts()) {
    const std::uint64_t end = part.offset + part.bytes;
    bool is_hit = harm.cut && harm.cut->where == Where::kPack && harm.cut->bytes < end;
    for (const Patch& patch : harm.patches) {
      if (patch.where != Where::kPack) continue;
      const std::uint64_t from = std::max(part.offset, patch.offset);
      const std::uint64_t to = std::min(end, patch.offset + patch.bytes.size());
      is_hit = is_hit || (from < to &&
                          std::memcmp(now.data() + from, patch.bytes.data() + (from - patch.offset),
                                      to - from) != 0);
    }
    if (is_hit) hit.push_back(&part);
  }
  return hit;
}

Judge::Expected Judge::expected_of(const Harm& harm) const {
  const auto& moments = specimen_.moments();
  const Holdings& before = moments[moments.size() - 2].holds;
  Expected expected{.holds = &specimen_.now().holds};
  if (harm.put_together) {
    const auto [pack, catalog] = *harm.put_together;
    if (pack == catalog) {
      expected.holds =
          pack < 0 ? &specimen_.stranger().holds : &moments[static_cast<std::size_t>(pack)].holds;
    } else if (catalog >= 0 && pack == catalog + 1) {
      expected.or_holds = &moments[static_cast<std::size_t>(catalog)].holds;
      expected.holds = expected.or_holds;
    } else {
      expected.must_refuse = true;
    }
    return expected;
  }
  for (const std::string& name : harm.deleted) {
    if (name == "catalog.mdb" || name == "lock") expected.must_refuse = true;
  }
  expected.hit = parts_hit_by(harm);
  const auto hits = [&](Part::Kind kind) {
    return std::count_if(expected.hit.begin(), expected.hit.end(),
                         [&](const Part* part) { return part->kind == kind; });
  };
  const bool touches_catalog =
      std::any_of(harm.patches.begin(), harm.patches.end(),
                  [](const Patch& patch) { return patch.where == Where::kCatalog; });
  expected.may_refuse = harm.cut.has_value() || touches_catalog ||
                        hits(Part::Kind::kSuperblock) == 2 || hits(Part::Kind::kRoot) == 2;
  // The end of a commit may be missing, for all that can be told, where a meta page is older.
  if (touches_catalog && harm.patches.size() == 1 && harm.patches[0].offset < 8192 &&
      harm.patches[0].bytes.size() == 4096) {
    expected.or_holds = &before;
  }
  return expected;
}

Judge::Tensors Judge::Expected::touched() const {
  Tensors touched;
  for (const Part* part : hit) {
    for (const auto& [name, tensors] : part->touches) {
      touched[name].insert(tensors.begin(), tensors.end());
    }
  }
  return touched;
}

// ---- reading -----------------------------------------------------------------------------------

void Judge::expect_honest_reading(const Harm& harm) {
  put(harm);
  const Expected expected = expected_of(harm);
  auto& allocations = cairn::testing::allocations;
  const std::int64_t before = allocations.live_bytes;
  allocations.peak_bytes = before;
  read(expected);
  const auto file_bytes =
      static_cast<std::int64_t>(specimen_.now().pack.size() + specimen_.now().catalog.size());
  EXPECT_LE(allocations.peak_bytes - before, file_bytes + kMemoryBound) << "bytes of memory";
  put_back(harm);
}

void Judge::read(const Expected& expected) {
  std::optional<Store> store;
  try {
    store.emplace(directory_, StoreOptions{.read_only = true});
  } catch (const Error& error) {
    EXPECT_TRUE(expected.may_refuse || expected.must_refuse) << error.what();
    EXPECT_TRUE(is_damage(error) || error.code() == ErrorCode::kUnsupportedVersion) << error.what();
    const std::string_view text = error.what();
    EXPECT_TRUE(holds_word(text, "pack") || holds_word(text, "catalog") || holds_word(text, "lock"))
        << "names nothing: " << text;
    return;
  }
  EXPECT_FALSE(expected.must_refuse) << "opened as if nothing had happened";
  const Holdings* holds = expected.holds;
  const auto& notes = store->open_report().notes;
  const bool tells_of_newer = std::any_of(notes.begin(), notes.end(), [](const std::string& note) {
    return holds_word(note, "under way");
  });
  if (expected.or_holds != nullptr && tells_of_newer) holds = expected.or_holds;
  EXPECT_TRUE(tells_of_newer || expected.or_holds != expected.holds) << "a newer root unnamed";
  expect_contents(*store, *holds, expected);
  expect_verdict(store->verify(), expected);
}

void Judge::expect_contents(const Store& store, const Holdings& holds, const Expected& expected) {
  const auto infos = store.checkpoints();
  EXPECT_EQ(names_of(infos), names_of(holds));
  const Tensors touched = expected.touched();
  for (const CheckpointInfo& info : infos) {
    const auto right = holds.find(info.name);
    if (right == holds.end()) continue;
    const auto of_this = touched.find(info.name);
    expect_checkpoint(store, info, right->second,
                      of_this == touched.end() ? std::set<std::string>() : of_this->second);
  }
}

void Judge::expect_checkpoint(const Store& store, const CheckpointInfo& info, const Contents& right,
                              const std::set<std::string>& touched) {
  std::optional<Checkpoint> checkpoint;
  const auto expect_said = [&](const Error& error) {
    EXPECT_FALSE(touched.empty()) << "refused for nothing: " << error.what();
    EXPECT_TRUE(is_damage(error)) << error.what();
    EXPECT_TRUE(holds_word(error.what(), info.name)) << "names no checkpoint: " << error.what();
  };
  try {
    checkpoint.emplace(store.open(info.id));
  } catch (const Error& error) {
    expect_said(error);
    return;
  }
  const auto tensors = checkpoint->tensors();
  ASSERT_EQ(tensors.size(), right.size());
  std::vector<LoadTarget> targets;
  std::size_t at = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    targets.push_back({.tensor = i, .out = std::span(memory_).subspan(at, tensors[i].bytes)});
    at += tensors[i].bytes;
  }
  const auto name_of = [&](std::size_t i) {
    return std::string(tensors[i].recoverable) + "/" + std::string(tensors[i].key);
  };
  const auto is_right = [&](std::size_t i) {
    const Bytes& bytes = right.at(name_of(i));
    return bytes.size() == targets[i].out.size() &&
           std::memcmp(bytes.data(), targets[i].out.data(), bytes.size()) == 0;
  };
  try {
    checkpoint->load(targets, LoadMode::kSinglePass);
    for (std::size_t i = 0; i < tensors.size(); ++i) EXPECT_TRUE(is_right(i)) << name_of(i);
    EXPECT_TRUE(touched.empty()) << "loaded from damaged bytes";
    return;
  } catch (const Error& error) {
    expect_said(error);
  }
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    try {
      checkpoint->load(std::span(&targets[i], 1), LoadMode::kSinglePass);
      EXPECT_TRUE(is_right(i) && !touched.contains(name_of(i))) << name_of(i);
    } catch (const Error& error) {
      EXPECT_TRUE(touched.contains(name_of(i))) << error.what();
      EXPECT_TRUE(holds_word(error.what(), name_of(i))) << "names no tensor: " << error.what();
    }
  }
}

void Judge::expect_verdict(const VerifyReport& report, const Expected& expected) const {
  // A slot may be known by its commit only.
  const auto is_of = [](const Damage& damage, const Part& part) {
    return damage.what == word_for(part.kind) &&
           (damage.pack_offset == part.offset || part.kind == Part::Kind::kSlot);
  };
  EXPECT_EQ(report.ok, report.damaged.empty());
  for (const Damage& damage : report.damaged) {
    const bool was_done = std::any_of(expected.hit.begin(), expected.hit.end(),
                                      [&](const Part* part) { return is_of(damage, *part); });
    EXPECT_TRUE(was_done) << "found what was not done: " << damage.what << ": " << damage.message;
  }
  // What a checkpoint with a lost index holds, nobody knows.
  std::set<std::string> lost;
  for (const Part* part : expected.hit) {
    if (part->kind == Part::Kind::kIndex) lost.insert(part->touches.begin()->first);
  }
  for (const Part* part : expected.hit) {
    Tensors known = part->touches;
    if (part->kind == Part::Kind::kChunk) {
      std::erase_if(known, [&](const auto& of) { return lost.contains(of.first); });
      if (known.empty()) continue;
    }
    const auto found = std::find_if(report.damaged.begin(), report.damaged.end(),
                                    [&](const Damage& damage) { return is_of(damage, *part); });
    if (found == report.damaged.end()) {
      // A torn slot of an old commit is what a crash leaves.
      EXPECT_TRUE(part->is_spare) << "not found: " << word_for(part->kind) << " at "
                                  << part->offset;
      continue;
    }
    Tensors touches;
    for (const DamagedTensor& touched : found->touches) {
      touches[touched.checkpoint_name].insert(touched.tensor);
    }
    if (part->kind == Part::Kind::kIndex) {
      ASSERT_EQ(touches.size(), 1U);
      EXPECT_EQ(touches.begin()->first, part->touches.begin()->first);
    } else {
      EXPECT_EQ(touches, known) << "names others than what it touches";
    }
  }
}

// ---- saving ------------------------------------------------------------------------------------

void Judge::expect_harmless_saving(const Harm& harm) {
  put(harm);
  save_and_delete(harm, expected_of(harm));
  make_anew();
}

void Judge::save_and_delete(const Harm& harm, const Expected& expected) {
  std::optional<Store> store;
  try {
    store.emplace(directory_);
  } catch (const Error& error) {
    EXPECT_TRUE(expected.may_refuse && !is_of_catalog_alone(harm)) << error.what();
    EXPECT_TRUE(is_damage(error)) << error.what();
    return;
  }
  const bool is_older = expected.or_holds != nullptr &&
                        names_of(store->checkpoints()) == names_of(*expected.or_holds);
  const Holdings& holds = is_older ? *expected.or_holds : *expected.holds;
  // Nothing is damaged that was not before.
  const auto expect_no_more_damage = [&](const char* when) {
    const Tensors touched = expected.touched();
    for (const Damage& damage : store->verify().damaged) {
      EXPECT_TRUE(
          std::any_of(expected.hit.begin(), expected.hit.end(),
                      [&](const Part* part) { return damage.what == word_for(part->kind); }))
          << when << ": " << damage.message;
      for (const DamagedTensor& one : damage.touches) {
        EXPECT_TRUE(touched.contains(one.checkpoint_name)) << when << ": " << damage.message;
      }
    }
  };
  // The third save writes over what the first one's deletion freed, and whatever passed for free.
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto id = store->save(testing::model_of(70 + round, 3, 120'000)).saved.id;
    expect_no_more_damage("after a save");
    store->remove(std::vector{id});
  }
  expect_contents(*store, holds, expected);
  expect_no_more_damage("at the end");
}

// ---- mending -----------------------------------------------------------------------------------

bool Judge::nothing_tells_the_store(const Expected& expected) const {
  return std::all_of(specimen_.parts().begin(), specimen_.parts().end(), [&](const Part& part) {
    return !part.is_structure() ||
           std::find(expected.hit.begin(), expected.hit.end(), &part) != expected.hit.end();
  });
}

void Judge::expect_mending(const Harm& harm) {
  put(harm);
  Expected expected = expected_of(harm);
  Tensors touched = expected.touched();
  if (harm.put_together && expected.must_refuse) {
    // The pack decides; the catalog is made from it. Not when the catalog is the newer one: then
    // what it lists is what the store held, and what of that is whole is not worked out here.
    const auto [of_pack, of_catalog] = *harm.put_together;
    if (of_pack >= 0 && of_pack < of_catalog) return expect_common_checkpoints(harm);
    const int pack = harm.put_together->first;
    expected.holds = pack < 0 ? &specimen_.stranger().holds
                              : &specimen_.moments()[static_cast<std::size_t>(pack)].holds;
  }
  // Nothing says any more whose pack it is: `repair` refuses, and says so.
  if (nothing_tells_the_store(expected)) {
    const Error error = testing::error_of([&] { Store::repair(directory_); });
    EXPECT_TRUE(is_damage(error)) << error.what();
    return make_anew();
  }
  const auto bytes_of = [&](const char* name) {
    return fs::exists(directory_ / name) ? testing::read_file(directory_ / name) : Bytes();
  };
  const Bytes pack_before = bytes_of("pack");
  const Bytes catalog_before = bytes_of("catalog.mdb");
  const RepairReport plan = Store::repair(directory_, {.dry_run = true});
  EXPECT_EQ(bytes_of("pack"), pack_before) << "a dry run changed the pack";
  EXPECT_EQ(bytes_of("catalog.mdb"), catalog_before) << "a dry run changed the catalog";
  for (const std::string& name : harm.deleted) {
    EXPECT_TRUE(name == "catalog.mdb-lock" || !fs::exists(directory_ / name)) << name;
  }

  const RepairReport done = Store::repair(directory_);
  EXPECT_EQ(plan.actions, done.actions) << "not as the dry run said";
  EXPECT_EQ(plan.changed, done.changed);
  EXPECT_EQ(names_of(plan.checkpoints), names_of(done.checkpoints));
  EXPECT_EQ(plan.remaining.size(), done.remaining.size());
  const RepairReport again = Store::repair(directory_);
  EXPECT_FALSE(again.changed) << "a second repair found more: "
                              << (again.actions.empty() ? "" : again.actions[0]);
  {
    Store store(directory_);
    const auto infos = store.checkpoints();
    const bool is_older =
        expected.or_holds != nullptr && names_of(infos) == names_of(*expected.or_holds);
    const Holdings& holds = is_older ? *expected.or_holds : *expected.holds;
    EXPECT_EQ(names_of(infos), names_of(holds));
    for (const CheckpointInfo& info : infos) {
      if (!holds.contains(info.name)) continue;
      EXPECT_EQ(info.damaged, touched.contains(info.name)) << info.name;
      expect_checkpoint(
          store, info, holds.at(info.name),
          touched.contains(info.name) ? touched.at(info.name) : std::set<std::string>());
    }
    for (const Damage& damage : store.verify().damaged) {
      EXPECT_TRUE(damage.what == "chunk" || damage.what == "index") << damage.message;
    }
    const auto id = store.save(testing::model_of(77, 2, 90'000)).saved.id;
    store.remove(std::vector{id});
    const auto report = store.verify();
    EXPECT_EQ(report.damaged.empty(), touched.empty());
  }
  make_anew();
}

void Judge::expect_common_checkpoints(const Harm& harm) {
  const auto moment = [&](int number) -> const Holdings& {
    return specimen_.moments()[static_cast<std::size_t>(number)].holds;
  };
  Store::repair(directory_);
  {
    const Store store(directory_);
    for (const auto& [name, contents] : moment(harm.put_together->first)) {
      if (!moment(harm.put_together->second).contains(name)) continue;
      const auto info = store.find_by_name(name);
      ASSERT_TRUE(info.has_value()) << name;
      expect_checkpoint(store, *info, contents, {});
    }
  }
  make_anew();
}

}  // namespace cairn::damage
