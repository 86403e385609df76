// What must come of a damaged store, and whether it does.
#pragma once

#include "damage/harm.h"
#include "damage/specimen.h"

#include <cairn/store.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace cairn::damage {

/// Does one damage after another to a store and looks what becomes of it. A failed expectation is
/// the test's; label the case before.
class Judge {
 public:
  /// Puts the specimen's store into `directory`.
  Judge(const Specimen& specimen, std::filesystem::path directory);

  /// Reading gives the right bytes, or an error that names what is damaged; `verify` finds what was
  /// done, and names each tensor of each checkpoint that it touches. Memory stays within bounds.
  void expect_honest_reading(const Harm& harm);

  /// Opening for writing sees to a damaged catalog by itself, and refuses only what reading may
  /// refuse. What the store held is there, and saves and deletions after it harm none of it. For
  /// damages of bytes and cuts.
  void expect_harmless_saving(const Harm& harm);

  /// `repair` brings back whatever is whole, in one go, as its dry run said it would.
  void expect_mending(const Harm& harm);

 private:
  using Holdings = std::map<std::string, testing::Contents>;
  using Tensors = std::map<std::string, std::set<std::string>>;  // by name of checkpoint

  struct Expected {
    const Holdings* holds = nullptr;
    /// What it may hold as well, if it tells of a newer commit: when the end of a commit is
    /// missing.
    const Holdings* or_holds = nullptr;
    bool may_refuse = false;
    bool must_refuse = false;
    std::vector<const Part*> hit{};  // parts of the pack that have changed
    Tensors touched() const;
  };

  bool nothing_tells_the_store(const Expected& expected) const;
  void put(const Harm& harm) const;
  void put_back(const Harm& harm) const;
  void make_anew() const;
  Expected expected_of(const Harm& harm) const;
  std::vector<const Part*> parts_hit_by(const Harm& harm) const;

  void expect_common_checkpoints(const Harm& harm);
  void save_and_delete(const Harm& harm, const Expected& expected);
  void read(const Expected& expected);
  void expect_contents(const Store& store, const Holdings& holds, const Expected& expected);
  void expect_checkpoint(const Store& store, const CheckpointInfo& info,
                         const testing::Contents& right, const std::set<std::string>& touched);
  void expect_verdict(const VerifyReport& report, const Expected& expected) const;

  const Specimen& specimen_;
  std::filesystem::path directory_;
  std::vector<std::byte> memory_;  // where tensors are loaded
};

}  // namespace cairn::damage
