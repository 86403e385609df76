// How LMDB 0.9 lays out its file (64 bit, little-endian; learned from mdb.c, LMDB_0.9.24):
//
//   page        header of 16 bytes: page number u64, pad u16 (never initialised), flags u16, then
//               lower u16 and upper u16, or the number of pages of an overflow run u32
//   pages 0, 1  meta pages; transaction N writes page N & 1: magic u32, version u32, address u64,
//               map size u64, tree of free pages, tree of tables, last page u64, transaction u64
//   tree        48 bytes: pad u32 (in the first tree the page size), flags u16, depth u16, branch
//               pages u64, leaf pages u64, overflow pages u64, entries u64, root u64 (~0: none)
//   branch,     pointers u16 from 16 to `lower`, nodes from `upper` to the end, each at an even
//   leaf        offset, in any order, without gaps
//   node        lo u16, hi u16, flags u16, length of the key u16, key, data. In a leaf lo and hi
//               are the length of the data; in a branch lo, hi and flags are the child's number,
//               and the first key is not looked at
//   data        in the node; or (flag 1) the number of an overflow run that holds it, after its
//               header; or (flag 2) the record of a named tree
//   free pages  key: a transaction id; data: u64 count, then so many page numbers, descending
//
// A transaction copies each page that it changes, and pages of a snapshot that is being read are
// not reused: so what is read here stands still, except the meta page itself.
#include "catalog/vetting.h"

#include "base/checked.h"
#include "base/little_endian.h"

#include <cairn/error.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cairn::catalog {
namespace {

using base::load_le;
using Bytes = std::span<const std::byte>;

constexpr std::uint32_t kMagic = 0xBEEFC0DE;
constexpr std::uint32_t kDataVersion = 1;
constexpr std::uint64_t kNoPage = ~std::uint64_t{0};
constexpr std::uint64_t kFirstDataPage = 2;

constexpr std::uint32_t kMinPageBytes = 4096;
constexpr std::uint32_t kMaxPageBytes = 32768;

constexpr std::size_t kHeaderBytes = 16;
constexpr std::size_t kTreeBytes = 48;
constexpr std::size_t kMetaBytes = 24 + 2 * kTreeBytes + 16;
constexpr std::size_t kMetaPageBytes = kHeaderBytes + kMetaBytes;

constexpr std::uint16_t kBranch = 0x01;
constexpr std::uint16_t kLeaf = 0x02;
constexpr std::uint16_t kOverflow = 0x04;
constexpr std::uint16_t kMetaFlag = 0x08;

constexpr std::size_t kNodeBytes = 8;
constexpr std::uint16_t kBigData = 0x01;
constexpr std::uint16_t kSubData = 0x02;

constexpr std::size_t kMaxKeyBytes = 511;
// LMDB's cursors hold 32 levels, and a root that splits adds one.
constexpr std::size_t kMaxDepth = 30;

constexpr std::uint16_t kIntegerKey = 0x08;
constexpr std::uint16_t kNoSubDir = 0x4000;  // of the environment; LMDB keeps it with the flags

// The largest map that a 64-bit process can have, with room to spare.
constexpr std::uint64_t kMaxMapBytes = std::uint64_t{1} << 47;

struct Tree {
  std::uint32_t pad = 0;
  std::uint16_t flags = 0;
  std::uint16_t depth = 0;
  std::uint64_t branch_pages = 0;
  std::uint64_t leaf_pages = 0;
  std::uint64_t overflow_pages = 0;
  std::uint64_t entries = 0;
  std::uint64_t root = kNoPage;
};

struct Meta {
  std::uint64_t page_number = 0;
  std::uint16_t page_flags = 0;
  std::uint32_t magic = 0;
  std::uint32_t version = 0;
  std::uint64_t map_bytes = 0;
  Tree free_pages{};
  Tree tables{};
  std::uint64_t last_page = 0;
  std::uint64_t transaction = 0;

  std::uint32_t page_bytes() const noexcept { return free_pages.pad; }
};

using MetaPage = std::array<std::byte, kMetaPageBytes>;

Tree parse_tree(Bytes bytes) {
  return {.pad = load_le<std::uint32_t>(bytes, 0),
          .flags = load_le<std::uint16_t>(bytes, 4),
          .depth = load_le<std::uint16_t>(bytes, 6),
          .branch_pages = load_le<std::uint64_t>(bytes, 8),
          .leaf_pages = load_le<std::uint64_t>(bytes, 16),
          .overflow_pages = load_le<std::uint64_t>(bytes, 24),
          .entries = load_le<std::uint64_t>(bytes, 32),
          .root = load_le<std::uint64_t>(bytes, 40)};
}

Meta parse_meta(Bytes page) {
  const Bytes meta = page.subspan(kHeaderBytes);
  return {.page_number = load_le<std::uint64_t>(page, 0),
          .page_flags = load_le<std::uint16_t>(page, 10),
          .magic = load_le<std::uint32_t>(meta, 0),
          .version = load_le<std::uint32_t>(meta, 4),
          .map_bytes = load_le<std::uint64_t>(meta, 16),
          .free_pages = parse_tree(meta.subspan(24)),
          .tables = parse_tree(meta.subspan(24 + kTreeBytes)),
          .last_page = load_le<std::uint64_t>(meta, 24 + 2 * kTreeBytes),
          .transaction = load_le<std::uint64_t>(meta, 24 + 2 * kTreeBytes + 8)};
}

template <typename... Args>
[[noreturn]] void fail_at(const io::File& file, std::uint64_t offset,
                          fmt::format_string<Args...> what, Args&&... args) {
  throw Error(ErrorCode::kDamaged,
              "the catalog is damaged: " + fmt::format(what, std::forward<Args>(args)...),
              {.path = file.path(), .offset = offset});
}

bool is_page_size(std::uint64_t bytes) noexcept {
  return std::has_single_bit(bytes) && bytes >= kMinPageBytes && bytes <= kMaxPageBytes;
}

// ---- the meta pages --------------------------------------------------------------------------

struct MetaPages {
  std::array<MetaPage, 2> bytes{};
  std::array<Meta, 2> parsed{};
  const Meta& newest() const noexcept {
    return parsed[parsed[0].transaction < parsed[1].transaction ? 1 : 0];
  }
};

MetaPage read_meta_page(const io::File& file, std::uint64_t offset) {
  MetaPage page{};
  const std::size_t got = file.read_some(offset, page);
  if (got == page.size()) return page;
  if (offset == 0 && got == 0) {
    throw Error(ErrorCode::kDamaged, "the catalog is empty", {.path = file.path()});
  }
  fail_at(file, offset, "it ends inside of a meta page");
}

// What LMDB looks at before it maps the file, and in both pages.
void vet_signature(const io::File& file, const Meta& meta, std::uint64_t offset) {
  if (meta.magic != kMagic) fail_at(file, offset, "it is no LMDB file (wrong magic)");
  if (meta.page_flags != kMetaFlag) {
    fail_at(file, offset, "a meta page has the flags {:#x}", meta.page_flags);
  }
  if (!is_page_size(meta.page_bytes())) {
    fail_at(file, offset, "a meta page gives the page size as {} bytes", meta.page_bytes());
  }
}

// A root, and that the counts are those of no page when there is none.
void vet_root(const io::File& file, const Tree& tree, std::uint64_t last_page,
              std::uint64_t offset) {
  if (tree.root == kNoPage) {
    if (tree.depth != 0 || tree.branch_pages != 0 || tree.leaf_pages != 0 ||
        tree.overflow_pages != 0 || tree.entries != 0) {
      fail_at(file, offset, "a tree without a root has pages or entries");
    }
    return;
  }
  if (tree.root < kFirstDataPage || tree.root > last_page) {
    fail_at(file, offset, "the root of a tree is page {}, outside of 2 to {}", tree.root,
            last_page);
  }
  if (tree.depth == 0 || tree.depth > kMaxDepth) {
    fail_at(file, offset, "a tree has {} levels", tree.depth);
  }
}

// What LMDB believes of the meta page that it uses.
void vet_contents(const io::File& file, const Meta& meta, std::uint64_t file_bytes) {
  const std::uint64_t offset = meta.page_number * meta.page_bytes();
  // The end of the file may lack free pages, which are never written; their numbers, 8 bytes each,
  // stand in the file.
  if (meta.last_page < 1 ||
      meta.last_page >= file_bytes / meta.page_bytes() + file_bytes / sizeof(std::uint64_t)) {
    fail_at(file, offset, "the last page is {} in a file of {} bytes", meta.last_page, file_bytes);
  }
  if (meta.map_bytes % meta.page_bytes() != 0 || meta.map_bytes > kMaxMapBytes ||
      meta.map_bytes / meta.page_bytes() <= meta.last_page) {
    fail_at(file, offset, "the map has {} bytes", meta.map_bytes);
  }
  vet_root(file, meta.free_pages, meta.last_page, offset);
  vet_root(file, meta.tables, meta.last_page, offset);
  if ((meta.free_pages.flags & ~kNoSubDir) != kIntegerKey || meta.tables.flags != 0 ||
      meta.tables.pad != 0) {
    fail_at(file, offset, "the trees have the flags {:#x} and {:#x}", meta.free_pages.flags,
            meta.tables.flags);
  }
}

MetaPages vet_metas_once(const io::File& file) {
  const std::uint64_t file_bytes = file.bytes();
  MetaPages metas;
  metas.bytes[0] = read_meta_page(file, 0);
  metas.parsed[0] = parse_meta(metas.bytes[0]);
  vet_signature(file, metas.parsed[0], 0);
  const std::uint64_t second_at = metas.parsed[0].page_bytes();
  metas.bytes[1] = read_meta_page(file, second_at);
  metas.parsed[1] = parse_meta(metas.bytes[1]);
  vet_signature(file, metas.parsed[1], second_at);

  const auto& [first, second] = metas.parsed;
  if (first.page_bytes() != second.page_bytes()) {
    fail_at(file, second_at, "the meta pages give different page sizes");
  }
  if (first.version == second.version && first.version > kDataVersion) {
    throw Error(ErrorCode::kUnsupportedVersion,
                fmt::format("the catalog has LMDB's data version {}; this version knows {}",
                            first.version, kDataVersion),
                {.path = file.path()});
  }
  for (const std::size_t i : {0U, 1U}) {
    const Meta& meta = metas.parsed[i];
    const std::uint64_t offset = i * second_at;
    if (meta.version != kDataVersion) {
      fail_at(file, offset, "a meta page has LMDB's data version {}", meta.version);
    }
    if (meta.page_number != i) {
      fail_at(file, offset, "meta page {} says that it is page {}", i, meta.page_number);
    }
  }

  // A commit writes one of them, so they are of neighbouring transactions; also after a commit that
  // failed there, which LMDB takes back. In a file without any commit both are 0.
  const Meta& newest = metas.newest();
  const std::uint64_t offset = newest.page_number * second_at;
  const std::uint64_t older = metas.parsed[newest.page_number == 0 ? 1 : 0].transaction;
  const bool is_untouched = newest.transaction == 0 && older == 0;
  if (!is_untouched &&
      (newest.transaction - older != 1 || (newest.transaction & 1) != newest.page_number)) {
    fail_at(file, offset, "the meta pages are of transactions {} and {}", first.transaction,
            second.transaction);
  }
  vet_contents(file, newest, file_bytes);
  return metas;
}

// Another process may be in the middle of writing a meta page: what looks wrong is read again, and
// believed when it stands still.
MetaPages vet_metas(const io::File& file) {
  constexpr int kMostAttempts = 50;
  constexpr int kTimesTheSame = 3;
  std::string last;
  int times = 0;
  for (int attempt = 1;; ++attempt) {
    try {
      return vet_metas_once(file);
    } catch (const Error& error) {
      times = error.what() == last ? times + 1 : 1;
      last = error.what();
      if (times == kTimesTheSame || attempt == kMostAttempts) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// ---- the walk --------------------------------------------------------------------------------

// Which pages have been met, one bit each.
class PageSet {
 public:
  explicit PageSet(std::uint64_t pages) : words_((pages + 63) / 64) {}

  /// False when it was in the set already.
  bool insert(std::uint64_t page) noexcept {
    std::uint64_t& word = words_[page / 64];
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    return (std::exchange(word, word | bit) & bit) == 0;
  }

 private:
  std::vector<std::uint64_t> words_;
};

enum class TreeKind { kFreePages, kTables, kTable };

// The keys that a page may hold: from `first` on, below `end`; nothing means no bound.
struct KeyRange {
  std::optional<Bytes> first{};
  std::optional<Bytes> end{};
};

struct Node {
  std::size_t offset = 0;
  std::uint32_t data_bytes = 0;  // of a leaf's
  std::uint64_t child = 0;       // of a branch's
  std::uint16_t flags = 0;       // of a leaf's
  Bytes key{};
  Bytes data{};  // what stands behind the key in the page
};

class Walk {
 public:
  Walk(const io::File& file, const Meta& meta)
      : file_(file),
        transaction_(meta.transaction),
        last_page_(meta.last_page),
        page_bytes_(meta.page_bytes()),
        file_pages_(file.bytes() / meta.page_bytes()),
        met_(meta.last_page + 1),
        node_bytes_at_(page_bytes_ / 2) {}

  void run(const Meta& meta) {
    walk_tree(meta.free_pages, TreeKind::kFreePages);
    walk_tree(meta.tables, TreeKind::kTables);
    // By index: a table's own walk adds none.
    for (std::size_t i = 0; i < tables_.size(); ++i) walk_tree(tables_[i], TreeKind::kTable);
  }

 private:
  struct Level {
    std::vector<std::byte> page{};
    std::size_t nodes = 0;
  };

  template <typename... Args>
  [[noreturn]] void fail(std::uint64_t page, fmt::format_string<Args...> what, Args&&... args) {
    fail_at(file_, page * page_bytes_, what, std::forward<Args>(args)...);
  }

  // Marks pages that are in use: they must be there, and nothing else's.
  void use(std::uint64_t page, std::uint64_t pages, std::uint64_t from) {
    if (page < kFirstDataPage || pages == 0 || !base::range_fits(page, pages, last_page_ + 1)) {
      fail(from, "it refers to {} pages from page {} on, outside of 2 to {}", pages, page,
           last_page_);
    }
    if (!base::range_fits(page, pages, file_pages_)) {
      throw Error(ErrorCode::kTruncated,
                  fmt::format("the catalog is cut short: it refers to {} pages from page {} on and "
                              "has {}",
                              pages, page, file_pages_),
                  {.path = file_.path(), .offset = page * page_bytes_});
    }
    for (std::uint64_t i = page; i < page + pages; ++i) {
      if (!met_.insert(i)) fail(from, "page {} is used twice", i);
    }
  }

  void walk_tree(const Tree& tree, TreeKind kind) {
    if (tree.root == kNoPage) return;
    kind_ = kind;
    seen_ = Tree{};
    if (levels_.size() < tree.depth) levels_.resize(tree.depth);
    walk_page(tree.root, tree.root, 0, tree.depth, {});
    if (seen_.branch_pages != tree.branch_pages || seen_.leaf_pages != tree.leaf_pages ||
        seen_.overflow_pages != tree.overflow_pages || seen_.entries != tree.entries) {
      fail(tree.root,
           "a tree has {} branch, {} leaf, {} overflow pages and {} entries, not {}, {}, {} and {}",
           seen_.branch_pages, seen_.leaf_pages, seen_.overflow_pages, seen_.entries,
           tree.branch_pages, tree.leaf_pages, tree.overflow_pages, tree.entries);
    }
  }

  // `level` counts from the root; the tree has `depth` of them. Recursion ends at kMaxDepth.
  void walk_page(std::uint64_t page, std::uint64_t from, std::size_t level, std::size_t depth,
                 const KeyRange& range) {
    use(page, 1, from);
    Level& here = levels_[level];
    here.page.resize(page_bytes_);
    file_.read_exactly(page * page_bytes_, here.page);
    const bool is_leaf = level + 1 == depth;
    vet_page_header(page, here, is_leaf ? kLeaf : kBranch);
    if (is_leaf) {
      ++seen_.leaf_pages;
      walk_leaf(page, here, range);
    } else {
      ++seen_.branch_pages;
      walk_branch(page, level, depth, range);
    }
  }

  // Header and pointers, and that the nodes fill their part of the page without overlap or gap:
  // LMDB moves them as one block when it removes one.
  void vet_page_header(std::uint64_t page, Level& here, std::uint16_t flags) {
    const Bytes bytes(here.page);
    if (load_le<std::uint64_t>(bytes, 0) != page) {
      fail(page, "page {} says that it is page {}", page, load_le<std::uint64_t>(bytes, 0));
    }
    if (load_le<std::uint16_t>(bytes, 10) != flags) {
      fail(page, "a {} page has the flags {:#x}", flags == kLeaf ? "leaf" : "branch",
           load_le<std::uint16_t>(bytes, 10));
    }
    const std::size_t lower = load_le<std::uint16_t>(bytes, 12);
    const std::size_t upper = load_le<std::uint16_t>(bytes, 14);
    if (lower < kHeaderBytes || lower % 2 != 0 || upper < lower || upper % 2 != 0 ||
        upper > page_bytes_) {
      fail(page, "a page's free part is given as {} to {}", lower, upper);
    }
    here.nodes = (lower - kHeaderBytes) / 2;
    // LMDB looks into the first node unasked, and into the second one of a branch.
    if (here.nodes < (flags == kLeaf ? 1U : 2U)) fail(page, "a page has {} nodes", here.nodes);

    std::fill(node_bytes_at_.begin(), node_bytes_at_.end(), std::uint16_t{0});
    for (std::size_t i = 0; i < here.nodes; ++i) {
      const std::size_t offset = load_le<std::uint16_t>(bytes, kHeaderBytes + 2 * i);
      if (offset % 2 != 0 || offset < upper || offset + kNodeBytes > page_bytes_) {
        fail(page, "node {} is at {}, outside of {} to {}", i, offset, upper, page_bytes_);
      }
      const std::size_t node_bytes = node_bytes_of(page, bytes, offset, flags == kLeaf);
      if (node_bytes > page_bytes_ - offset) {
        fail(page, "node {} at {} goes beyond its page", i, offset);
      }
      node_bytes_at_[offset / 2] = static_cast<std::uint16_t>(node_bytes);
    }
    std::size_t at = upper;
    std::size_t nodes = 0;
    for (; at < page_bytes_ && node_bytes_at_[at / 2] != 0; ++nodes) at += node_bytes_at_[at / 2];
    if (at != page_bytes_ || nodes != here.nodes) fail(page, "nodes overlap or leave a gap");
  }

  // How much of its page a node takes, rounded up to an even number.
  std::size_t node_bytes_of(std::uint64_t page, Bytes bytes, std::size_t offset, bool is_leaf) {
    const std::size_t key_bytes = load_le<std::uint16_t>(bytes, offset + 6);
    std::size_t node_bytes = kNodeBytes + key_bytes;
    if (is_leaf) {
      const auto flags = load_le<std::uint16_t>(bytes, offset + 4);
      const std::size_t data_bytes = load_le<std::uint32_t>(bytes, offset);
      node_bytes += (flags & kBigData) != 0 ? sizeof(std::uint64_t) : data_bytes;
      // Larger ones go to overflow pages; two of this size always fit, which splitting relies on.
      const std::size_t most_bytes = (((page_bytes_ - kHeaderBytes) / 2) & ~std::size_t{1}) - 2;
      if (node_bytes > most_bytes) {
        fail(page, "a node has {} bytes; at most {} fit", node_bytes, most_bytes);
      }
    }
    return (node_bytes + 1) & ~std::size_t{1};
  }

  Node node_at(const Level& here, std::size_t i, bool is_leaf) const {
    const Bytes bytes(here.page);
    Node node;
    node.offset = load_le<std::uint16_t>(bytes, kHeaderBytes + 2 * i);
    node.flags = load_le<std::uint16_t>(bytes, node.offset + 4);
    node.data_bytes = load_le<std::uint32_t>(bytes, node.offset);
    node.child = node.data_bytes | static_cast<std::uint64_t>(node.flags) << 32;
    const std::size_t key_bytes = load_le<std::uint16_t>(bytes, node.offset + 6);
    node.key = bytes.subspan(node.offset + kNodeBytes, key_bytes);
    if (is_leaf) {
      node.data =
          bytes.subspan(node.offset + kNodeBytes + key_bytes,
                        (node.flags & kBigData) != 0 ? sizeof(std::uint64_t) : node.data_bytes);
    }
    return node;
  }

  bool is_less(Bytes a, Bytes b) const noexcept {
    if (kind_ == TreeKind::kFreePages) {
      return load_le<std::uint64_t>(a, 0) < load_le<std::uint64_t>(b, 0);
    }
    const int order = std::memcmp(a.data(), b.data(), std::min(a.size(), b.size()));
    return order < 0 || (order == 0 && a.size() < b.size());
  }

  void vet_key_bytes(std::uint64_t page, Bytes key) {
    const bool fits = kind_ == TreeKind::kFreePages ? key.size() == sizeof(std::uint64_t)
                                                    : !key.empty() && key.size() <= kMaxKeyBytes;
    if (!fits) fail(page, "a key has {} bytes", key.size());
  }

  void walk_branch(std::uint64_t page, std::size_t level, std::size_t depth,
                   const KeyRange& range) {
    const std::size_t nodes = levels_[level].nodes;
    // All keys first: those of a page that is out of order bound nothing.
    KeyRange rest = range;
    for (std::size_t i = 0; i < nodes; ++i) {
      const Node node = node_at(levels_[level], i, false);
      if (i == 0) {  // Never compared; but LMDB may copy it.
        if (node.key.size() > kMaxKeyBytes) fail(page, "a key has {} bytes", node.key.size());
        continue;
      }
      vet_key_bytes(page, node.key);
      if ((rest.first && !is_less(*rest.first, node.key)) ||
          (rest.end && !is_less(node.key, *rest.end))) {
        fail(page, "the keys of a branch page are out of order");
      }
      rest.first = node.key;
    }
    for (std::size_t i = 0; i < nodes; ++i) {
      const Level& here = levels_[level];
      KeyRange below = range;
      if (i > 0) below.first = node_at(here, i, false).key;
      if (i + 1 < nodes) below.end = node_at(here, i + 1, false).key;
      walk_page(node_at(here, i, false).child, page, level + 1, depth, below);
    }
  }

  void walk_leaf(std::uint64_t page, const Level& here, const KeyRange& range) {
    std::optional<Bytes> last;
    for (std::size_t i = 0; i < here.nodes; ++i) {
      const Node node = node_at(here, i, true);
      vet_key_bytes(page, node.key);
      if ((last ? !is_less(*last, node.key) : range.first && is_less(node.key, *range.first)) ||
          (range.end && !is_less(node.key, *range.end))) {
        fail(page, "the keys of a leaf page are out of order");
      }
      last = node.key;
      ++seen_.entries;
      walk_data(page, node);
    }
  }

  void walk_data(std::uint64_t page, const Node& node) {
    const std::uint16_t allowed = kind_ == TreeKind::kTables ? kSubData : kBigData;
    if ((node.flags & ~allowed) != 0) fail(page, "a node has the flags {:#x}", node.flags);
    std::uint64_t data_at = page * page_bytes_ + node.offset + kNodeBytes + node.key.size();
    if ((node.flags & kBigData) != 0) {
      const auto run = load_le<std::uint64_t>(node.data, 0);
      use_overflow_run(run, page, node.data_bytes);
      data_at = run * page_bytes_ + kHeaderBytes;
    }
    if (kind_ == TreeKind::kFreePages) {
      walk_free_list(page, node, data_at);
    } else if (kind_ == TreeKind::kTables) {
      if (node.flags != kSubData || node.data_bytes != kTreeBytes) {
        fail(page, "there is something else than a table among the tables");
      }
      const Tree tree = parse_tree(node.data);
      if (tree.flags != 0 || tree.pad != 0) fail(page, "a table has the flags {:#x}", tree.flags);
      vet_root(file_, tree, last_page_, data_at);
      tables_.push_back(tree);
    }
  }

  void use_overflow_run(std::uint64_t run, std::uint64_t from, std::uint64_t data_bytes) {
    use(run, 1, from);
    std::array<std::byte, kHeaderBytes> header{};
    file_.read_exactly(run * page_bytes_, header);
    if (load_le<std::uint64_t>(header, 0) != run) {
      fail(run, "page {} says that it is page {}", run, load_le<std::uint64_t>(header, 0));
    }
    if (load_le<std::uint16_t>(header, 10) != kOverflow) {
      fail(run, "an overflow page has the flags {:#x}", load_le<std::uint16_t>(header, 10));
    }
    const std::uint64_t pages = load_le<std::uint32_t>(header, 12);
    if (pages == 0 || pages * page_bytes_ - kHeaderBytes < data_bytes) {
      fail(run, "{} overflow pages hold {} bytes", pages, data_bytes);
    }
    if (pages > 1) use(run + 1, pages - 1, run);
    seen_.overflow_pages += pages;
  }

  // One record of the tree of free pages: a writer takes pages from it, so each number must be
  // that of a page that nothing else uses.
  void walk_free_list(std::uint64_t page, const Node& node, std::uint64_t data_at) {
    const auto freed_by = load_le<std::uint64_t>(node.key, 0);
    if (freed_by == 0 || freed_by > transaction_) {
      fail(page, "pages were freed by transaction {}, but the newest is {}", freed_by,
           transaction_);
    }
    if (node.data_bytes < sizeof(std::uint64_t) || node.data_bytes % sizeof(std::uint64_t) != 0) {
      fail(page, "a list of free pages has {} bytes", node.data_bytes);
    }
    std::array<std::byte, sizeof(std::uint64_t)> count_bytes{};
    file_.read_exactly(data_at, count_bytes);
    const auto count = load_le<std::uint64_t>(count_bytes, 0);
    if (count > node.data_bytes / sizeof(std::uint64_t) - 1) {
      fail(page, "a list of free pages has {} entries in {} bytes", count, node.data_bytes);
    }
    std::uint64_t above = last_page_ + 1;
    for (std::uint64_t done = 0; done < count;) {
      const std::uint64_t entries = std::min<std::uint64_t>(count - done, kFreePiece);
      free_piece_.resize(entries * sizeof(std::uint64_t));
      file_.read_exactly(data_at + (1 + done) * sizeof(std::uint64_t), free_piece_);
      for (std::uint64_t i = 0; i < entries; ++i) {
        const auto freed = load_le<std::uint64_t>(free_piece_, i * sizeof(std::uint64_t));
        if (freed < kFirstDataPage || freed >= above) {
          fail(page, "a list of free pages has page {} after page {}", freed, above);
        }
        if (!met_.insert(freed)) fail(page, "page {} is free and used, or free twice", freed);
        above = freed;
      }
      done += entries;
    }
  }

  static constexpr std::uint64_t kFreePiece = 8192;  // entries read at once

  const io::File& file_;
  const std::uint64_t transaction_;
  const std::uint64_t last_page_;
  const std::size_t page_bytes_;
  const std::uint64_t file_pages_;
  PageSet met_;
  std::vector<std::uint16_t> node_bytes_at_;  // of the page at hand, by offset / 2
  std::vector<std::byte> free_piece_;
  std::vector<Level> levels_;
  std::vector<Tree> tables_;
  TreeKind kind_ = TreeKind::kFreePages;
  Tree seen_{};  // counts of the tree at hand
};

}  // namespace

LmdbMeta vet_meta_pages(const io::File& file) {
  const Meta newest = vet_metas(file).newest();
  return {.page_bytes = newest.page_bytes(),
          .transaction = newest.transaction,
          .last_page = newest.last_page};
}

bool vet_snapshot(const io::File& file, std::uint64_t transaction) {
  const MetaPages metas = vet_metas(file);
  const std::size_t which = transaction & 1;
  const Meta& meta = metas.parsed[which];
  if (meta.transaction != transaction) {
    if (metas.newest().transaction > transaction) return false;
    fail_at(file, which * meta.page_bytes(),
            "its newest transaction is {}, but readers are told of transaction {}",
            metas.newest().transaction, transaction);
  }
  try {
    vet_contents(file, meta, file.bytes());
    Walk(file, meta).run(meta);
  } catch (const Error&) {
    // A commit may have been in the middle of the meta page when it was read: it is another now.
    if (read_meta_page(file, which * meta.page_bytes()) == metas.bytes[which]) throw;
    return false;
  }
  return true;
}

}  // namespace cairn::catalog
