#include "crash/workload.h"

#include "crash/explorer.h"
#include "crash/legal_states.h"
#include "crash/tree.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cairn::crash {
namespace {

using enum Operation;

Recording run(const std::vector<Operation>& operations) {
  const OneCore one_core;
  const FastDirectory directory;
  const auto work = directory.path() / "workload";
  write_tree({}, work);
  Recording recording = record(operations, work);
  EXPECT_EQ(recording.failure, "");
  return recording;
}

/// The notes of a log, and "..." where other events stand between them.
std::string notes(const EventLog& log) {
  std::string text;
  for (const Event& event : log) {
    if (event.kind == EventKind::kNote) {
      text += event.name + "; ";
    } else if (!text.empty() && !text.ends_with("... ")) {
      text += "... ";
    }
  }
  return text;
}

Legal legal_after(std::initializer_list<const char*> noted) {
  LegalStates states;
  for (const char* note : noted) states.apply({.kind = EventKind::kNote, .name = note});
  return states.now();
}

TEST(Workload, EqualOnesMakeEqualLogs) {
  for (const std::vector<Operation>& operations :
       {std::vector{kSaveNew, kSaveAsync, kReuse, kSaveAsync, kSaveAsync, kKeepOnly},
        std::vector{kSaveDirect, kSaveAsync, kReopen, kHeal, kCopy},
        std::vector{kSaveNew, kCompress, kSaveDirect, kSaveAsync, kHeal}}) {
    EXPECT_EQ(to_text(run(operations).log), to_text(run(operations).log)) << describe(operations);
  }
}

TEST(Workload, AnAsynchronousSaveWritesWhileTheNextChangeIsInFlight) {
  EXPECT_EQ(notes(run({kSaveAsync, kSaveNew}).log),
            "opened; done 0; begin 1; begin 2; ... done 1; ... done 2; ");
  EXPECT_EQ(notes(run({kSaveAsync, kSaveAsync}).log),
            "opened; done 0; begin 1; begin 2; ... done 1; ... done 2; ");
}

TEST(Workload, DirectSavesGoPastThePageCache) {
  EXPECT_EQ(run({kSaveNew}).direct_writes, 0U);
  EXPECT_GT(run({kSaveDirect}).direct_writes, 0U);
}

TEST(Workload, CompressedSavesWriteLess) {
  const auto written = [](const std::vector<Operation>& operations) {
    std::size_t bytes = 0;
    for (const Event& event : run(operations).log) {
      if (event.kind == EventKind::kWrite) bytes += event.data.size();
    }
    return bytes;
  };
  EXPECT_LT(written({kCompress, kSaveNew, kSaveNew, kSaveNew}) + 12'000,
            written({kReopen, kSaveNew, kSaveNew, kSaveNew}));
}

TEST(Workload, GoesOnWithWhatIsThere) {
  const OneCore one_core;
  const FastDirectory directory;
  const auto work = directory.path() / "workload";
  write_tree({}, work);
  const Recording first = record(std::vector{kSaveNew, kSaveNew}, work);
  const Recording second = record_again(std::vector{kDelete, kSaveNew}, work);
  ASSERT_EQ(second.failure, "");
  EXPECT_EQ(second.models.front(), first.models.back());
  EXPECT_EQ(second.models.back().size(), 2U);
}

TEST(LegalStates, ABeginningOfWhatIsInFlight) {
  EXPECT_EQ(legal_after({"done 0", "begin 1", "begin 2"}).models,
            (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(legal_after({"done 0", "begin 1", "begin 2", "done 1"}).models,
            (std::vector<std::size_t>{1, 2}));
  EXPECT_EQ(legal_after({"done 0", "begin 1", "begin 2", "done 1", "done 2"}).models,
            (std::vector<std::size_t>{2}));
}

TEST(LegalStates, ACommitThatFailedIsFoundWithoutTheCatalogOnly) {
  const Legal legal = legal_after({"done 0", "abort 1", "failed 1"});
  EXPECT_EQ(legal.models, (std::vector<std::size_t>{0}));
  EXPECT_EQ(legal.models_without_catalog, (std::vector<std::size_t>{0, 1}));
}

TEST(LegalStates, RotLastsUntilItIsHealed) {
  EXPECT_EQ(legal_after({"done 0", "rot 3"}).rot, 3U);
  EXPECT_EQ(legal_after({"done 0", "rot 3", "healed"}).rot, std::nullopt);
}

}  // namespace
}  // namespace cairn::crash
