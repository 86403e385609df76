// Judges one state of the disk: does the store open, hold what it may, and work on?
#pragma once

#include "crash/model.h"
#include "crash/tree.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace cairn::crash {

/// What a state may hold.
struct Expectation {
  std::vector<const Model*> models{};
  std::vector<const Model*> models_without_catalog{};
  bool store_exists = false;
  /// Set: a chunk is rotten besides, and saving this state mends it.
  const CheckpointState* heals_with = nullptr;
};

/// A byte of a chunk, and the checkpoints of the committed root that hold the chunk.
struct Rot {
  std::uint64_t offset = 0;
  std::set<std::string> touches{};
};

/// How deep to look.
struct Judgement {
  bool read_only = true;  ///< Opens for reading first; no file may change.
  bool parent_is_whole =
      true;                 ///< The committed root's parent verifies, as the reuse rule promises.
  bool is_damaged = false;  ///< No crash alone: the catalog may have to be made anew.
};

class Oracle {
 public:
  /// Works in a directory of its own; `store` is the store's path in a tree.
  Oracle(std::filesystem::path work, std::string store);

  /// What is wrong with the state, or nothing.
  std::optional<std::string> judge(const Tree& tree, const Expectation& expected,
                                   const Judgement& how = {});

  /// The same state, in which a byte has rotted before the store is opened again: what holds that
  /// chunk is refused, all else is as before.
  std::optional<std::string> judge_with_rot(const Tree& tree, const Expectation& expected,
                                            const Rot& rot);
  /// Some byte of what the state's catalog lists, or nothing where it lists no chunk.
  std::optional<Rot> choose_rot(const Tree& tree, std::mt19937_64& random);

  /// Puts a tree where it can be opened, and returns the directory of the tree. LMDB's lock file,
  /// which no flush reaches, is as its last processes left it, or empty, torn or gone, by the tree.
  std::filesystem::path lay_out(const Tree& tree);
  std::filesystem::path store_path() const { return work_ / store_; }
  const std::string& store() const { return store_; }

  /// The tree without the catalog, or nothing when it has none.
  std::optional<Tree> without_catalog(const Tree& tree) const;

 private:
  void judge_read_only(const Tree& tree, const Expectation& expected, const Judgement& how) const;
  void judge_parent() const;
  Model judge_opening(const std::vector<const Model*>& models, const Expectation& expected,
                      bool may_rebuild) const;
  void judge_healing(const Expectation& expected) const;
  bool has_catalog() const;
  Model judge_working(Model held) const;
  void judge_equal(const Model& held) const;
  void judge_rotten(const std::vector<const Model*>& models, const Rot& rot,
                    bool has_catalog) const;
  void lose_catalog() const;

  std::filesystem::path work_;
  std::string store_;
  Bytes left_lock_;  // of LMDB, with a reader
};

/// Compares catalog, root and indexes row by row, and sees that live and free extents partition
/// the pack. Written apart from `verify`, which must agree. Errors: std::runtime_error.
void check_structure(const std::filesystem::path& store);

}  // namespace cairn::crash
