// Reading what torch.save wrote.
//
// Today's format is a ZIP archive with NAME/data.pkl, which refers to storages, and NAME/data/KEY,
// a storage each. The legacy one is a row of pickles (a magic number, a version, what machine wrote
// it, the object, the keys of storages), and behind them, in the order of the keys, each storage
// as its element count and its bytes.
#include "base/checked.h"
#include "base/little_endian.h"
#include "base/text.h"
#include "interop/pickle.h"
#include "interop/zip.h"
#include "io/file.h"

#include <cairn/error.h>
#include <cairn/torch_file.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

namespace cairn {

namespace {

using interop::Pickle;
using interop::PickledStorage;
using interop::PickledTensor;
using interop::PickledValue;
using interop::ZipEntry;
using Kind = PickledValue::Kind;

/// A pickle holds names and numbers only; a larger one is none of a state.
constexpr std::uint64_t kMaxPickleBytes = std::uint64_t{1} << 30;
/// Deeper nesting is that of a circle.
constexpr int kMaxDepth = 64;
/// A pickle may refer to one value many times, and so describe more than could ever be listed.
constexpr std::size_t kMaxLeaves = 4'000'000;
/// The same of all paths, keys and texts together, and what a checkpoint takes as one key.
constexpr std::uint64_t kMaxTextBytes = std::uint64_t{512} << 20;
constexpr std::size_t kMaxPathBytes = 65535;

/// Strides of zero and overlapping views let a small file describe any number of bytes. A state has
/// few of them: so much more than the file itself may all tensors be.
constexpr std::uint64_t kMaxExpansion = 256;
constexpr std::uint64_t kFreeExpansionBytes = std::uint64_t{1} << 30;

/// The first pickle of the legacy format: 0x1950a86a20f9469cfc6c.
constexpr std::string_view kLegacyMagic("\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10);
constexpr std::int64_t kLegacyVersion = 1001;

[[noreturn]] void refuse(const io::File& file, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, why, {.path = file.path()});
}
[[noreturn]] void damaged(const io::File& file, const std::string& what,
                          std::optional<std::uint64_t> offset = {}) {
  throw Error(ErrorCode::kDamaged, what, {.path = file.path(), .offset = offset});
}

std::uint64_t element_bytes(DType dtype) {
  return bits_per_element(dtype) / 8;
}

// ---- tensors ------------------------------------------------------------------------------------

/// Bytes of a tensor whose elements lie in a file with any strides.
class StridedFile : public TensorSource {
 public:
  StridedFile(std::shared_ptr<const io::File> file, std::uint64_t begin,
              const PickledTensor& tensor)
      : file_(std::move(file)),
        begin_(begin),
        element_(element_bytes(tensor.dtype)),
        shape_(tensor.shape),
        strides_(tensor.strides) {
    std::int64_t expected = 1;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      if (shape_[i] != 1 && strides_[i] != expected) is_contiguous_ = false;
      expected *= std::max<std::int64_t>(shape_[i], 1);
    }
  }

  void read(std::uint64_t offset, std::span<std::byte> out) const override {
    if (is_contiguous_) return file_->read_exactly(begin_ + offset, out);
    Window window;
    for (std::size_t done = 0; done < out.size();) {
      const auto part = out.subspan(done, std::min(out.size() - done, kPartElements * element_));
      read_part((offset + done) / element_, part, window);
      done += part.size();
    }
  }

 private:
  /// A part of the file, so that elements near each other cost one read.
  struct Window {
    std::uint64_t begin = 0;
    std::vector<std::byte> bytes{};
  };
  static constexpr std::uint64_t kWindowBytes = 64 * 1024;
  /// So many elements are read in the order of their places: those of a transposed matrix lie far
  /// from each other in their own.
  static constexpr std::size_t kPartElements = std::size_t{1} << 18;

  void read_part(std::uint64_t index, std::span<std::byte> out, Window& window) const {
    struct Element {
      std::uint64_t place = 0;
      std::size_t at = 0;  // in `out`
    };
    std::vector<Element> elements(out.size() / element_);
    for (std::size_t i = 0; i < elements.size(); ++i) {
      elements[i] = {place_of(index + i), i * element_};
    }
    const auto by_place = [](const Element& a, const Element& b) { return a.place < b.place; };
    if (!std::is_sorted(elements.begin(), elements.end(), by_place)) {
      std::sort(elements.begin(), elements.end(), by_place);
    }
    for (const Element& element : elements) {
      const auto bytes = read_element(element.place, window);
      std::copy(bytes.begin(), bytes.end(), out.subspan(element.at).begin());
    }
  }

  std::uint64_t place_of(std::uint64_t index) const {
    std::uint64_t place = 0;
    for (std::size_t i = shape_.size(); i-- > 0;) {
      const auto dimension = static_cast<std::uint64_t>(shape_[i]);
      place += index % dimension * static_cast<std::uint64_t>(strides_[i]);
      index /= dimension;
    }
    return begin_ + place * element_;
  }

  std::span<const std::byte> read_element(std::uint64_t place, Window& window) const {
    const bool is_inside = place >= window.begin && place - window.begin < window.bytes.size() &&
                           window.bytes.size() - (place - window.begin) >= element_;
    if (!is_inside) {
      window.bytes.resize(kWindowBytes);
      window.begin = place;
      window.bytes.resize(file_->read_some(place, window.bytes));
      if (window.bytes.size() < element_) {
        throw Error(ErrorCode::kTruncated, "the file ends inside a tensor",
                    {.path = file_->path(), .offset = place});
      }
    }
    return std::span(window.bytes).subspan(place - window.begin, element_);
  }

  std::shared_ptr<const io::File> file_;
  std::uint64_t begin_;
  std::uint64_t element_;
  std::vector<std::int64_t> shape_;
  std::vector<std::int64_t> strides_;
  bool is_contiguous_ = true;
};

/// Finds the bytes of a storage; empty when there is none of that key.
using FindStorage = std::function<std::optional<ZipEntry>(const PickledStorage&)>;

/// Elements from the tensor's first to its last, or nothing when numbers overflow.
std::optional<std::uint64_t> extent_of(const PickledTensor& tensor) {
  const auto is_negative = [](std::int64_t number) { return number < 0; };
  if (std::any_of(tensor.shape.begin(), tensor.shape.end(), is_negative)) return std::nullopt;
  if (std::any_of(tensor.strides.begin(), tensor.strides.end(), is_negative)) return std::nullopt;
  std::uint64_t last = 0;
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    if (tensor.shape[i] == 0) return 0;
    const auto step = base::checked_multiply(static_cast<std::uint64_t>(tensor.shape[i] - 1),
                                             static_cast<std::uint64_t>(tensor.strides[i]));
    const auto sum = step ? base::checked_add(last, *step) : std::nullopt;
    if (!sum) return std::nullopt;
    last = *sum;
  }
  return base::checked_add(last, 1);
}

// ---- from a pickle to a state -------------------------------------------------------------------

class StateMaker {
 public:
  StateMaker(std::shared_ptr<const io::File> file, FindStorage find_storage,
             RecoverableState& state)
      : file_(std::move(file)), find_storage_(std::move(find_storage)), state_(state) {}

  void add(const PickledValue& root) {
    if (root.kind == Kind::kTensor) return add_tensor("tensor", *root.tensor);
    if (root.kind == Kind::kDict) return add_dict("", root, 0);
    if (is_sequence(root)) return add_list("", root, 0);
    add_leaf("value", root);
  }

 private:
  static bool is_sequence(const PickledValue& value) {
    return value.kind == Kind::kList || value.kind == Kind::kTuple;
  }

  void add_any(const std::string& path, const PickledValue& value, int depth) {
    if (value.kind == Kind::kTensor) return add_tensor(path, *value.tensor);
    const bool is_container = value.kind == Kind::kDict || is_sequence(value);
    if (is_container && has_tensor(value, depth)) {
      return value.kind == Kind::kDict ? add_dict(path, value, depth)
                                       : add_list(path, value, depth);
    }
    add_leaf(path, value);
  }

  void add_dict(const std::string& path, const PickledValue& dict, int depth) {
    check_depth(depth);
    for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      add_any(joined(path, key_text(*dict.items[i])), *dict.items[i + 1], depth + 1);
    }
  }
  void add_list(const std::string& path, const PickledValue& list, int depth) {
    check_depth(depth);
    for (std::size_t i = 0; i < list.items.size(); ++i) {
      add_any(joined(path, std::to_string(i)), *list.items[i], depth + 1);
    }
  }

  std::string joined(const std::string& path, const std::string& name) {
    if (path.size() + name.size() >= kMaxPathBytes) {
      refuse(*file_, "the path of keys that begins " + base::quoted(name.substr(0, 64)) +
                         " is longer than " + std::to_string(kMaxPathBytes) + " bytes");
    }
    count_text(path.size() + name.size());
    return path.empty() ? name : path + "." + name;
  }

  std::string key_text(const PickledValue& key) const {
    if (key.kind == Kind::kString) return key.text;
    if (key.kind == Kind::kInt) return std::to_string(key.integer);
    refuse(*file_, "a dict in the file has a key that is neither text nor a number");
  }

  void check_depth(int depth) const {
    if (depth > kMaxDepth) {
      refuse(*file_, "the file nests lists and dicts deeper than " + std::to_string(kMaxDepth));
    }
  }
  void count_one() {
    if (++leaves_ > kMaxLeaves) {
      refuse(*file_, "the file describes more than " + std::to_string(kMaxLeaves) + " values");
    }
  }

  void count_text(std::uint64_t bytes) {
    text_bytes_ += bytes;
    if (text_bytes_ > kMaxTextBytes) {
      refuse(*file_, "its paths of keys and its texts have more than " +
                         std::to_string(kMaxTextBytes) + " bytes together");
    }
  }

  bool has_tensor(const PickledValue& value, int depth) {
    check_depth(depth);
    const auto known = has_tensor_.find(&value);
    if (known != has_tensor_.end()) return known->second;
    const bool has = std::any_of(value.items.begin(), value.items.end(), [&](const auto* item) {
      if (item->kind == Kind::kTensor) return true;
      return !item->items.empty() && has_tensor(*item, depth + 1);
    });
    has_tensor_.emplace(&value, has);
    return has;
  }

  void add_leaf(const std::string& path, const PickledValue& value) {
    if (auto converted = convert(path, value, 0)) add_value(path, *std::move(converted));
  }
  void add_value(const std::string& path, MetaValue value) {
    if (!state_.values.emplace(path, std::move(value)).second) {
      refuse(*file_, "two values of the file have the path " + base::quoted(path));
    }
  }

  std::optional<MetaValue> convert(const std::string& path, const PickledValue& value, int depth) {
    count_one();
    count_text(value.text.size());
    check_depth(depth);
    switch (value.kind) {
      case Kind::kNone:
        return std::nullopt;
      case Kind::kBool:
        return MetaValue(value.integer != 0);
      case Kind::kInt:
        return MetaValue(value.integer);
      case Kind::kFloat:
        return MetaValue(value.number);
      case Kind::kString:
        return MetaValue(value.text);
      case Kind::kBytes: {
        const auto bytes = std::as_bytes(std::span(value.text));
        return MetaValue(MetaValue::Bytes(bytes.begin(), bytes.end()));
      }
      case Kind::kGlobal:  // a dtype, say
        return MetaValue(value.text);
      case Kind::kList:
      case Kind::kTuple: {
        MetaValue::List list;
        for (const PickledValue* item : value.items) {
          if (auto converted = convert(path, *item, depth + 1)) {
            list.push_back(*std::move(converted));
          }
        }
        return MetaValue(std::move(list));
      }
      case Kind::kDict: {
        MetaValue::Map map;
        for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
          if (auto converted = convert(path, *value.items[i + 1], depth + 1)) {
            std::string key = key_text(*value.items[i]);
            count_text(key.size());
            map.insert_or_assign(std::move(key), *std::move(converted));
          }
        }
        return MetaValue(std::move(map));
      }
      case Kind::kBigInt:
        refuse(*file_, base::quoted(path) + " is a whole number of more than 64 bits");
      case Kind::kStorage:
      case Kind::kTensor:
        break;
    }
    refuse(*file_, base::quoted(path) + " is a storage without a tensor");
  }

  void add_tensor(const std::string& path, const PickledTensor& tensor) {
    count_one();
    const auto extent = extent_of(tensor);
    if (!extent) damaged(*file_, "tensor " + base::quoted(path) + " has an impossible shape");
    const std::uint64_t element = element_bytes(tensor.dtype);
    TensorInput input{.key = path, .dtype = tensor.dtype, .shape = tensor.shape};
    if (*extent > 0) {
      const auto storage = find_storage_(tensor.storage);
      if (!storage) {
        damaged(*file_, "the storage of tensor " + base::quoted(path) + " is not in the file");
      }
      const auto begin = base::checked_multiply(tensor.storage_offset, element);
      const auto bytes = base::checked_multiply(*extent, element);
      if (!begin || !bytes || !base::range_fits(*begin, *bytes, storage->bytes)) {
        damaged(*file_, "tensor " + base::quoted(path) + " lies outside its storage",
                storage->offset);
      }
      count_bytes(tensor, path);
      input.source = source_of(storage->offset + *begin, tensor);
    }
    if (!keys_.insert(path).second) {
      refuse(*file_, "two tensors of the file have the path " + base::quoted(path));
    }
    state_.tensors.push_back(std::move(input));
  }

  void count_bytes(const PickledTensor& tensor, const std::string& path) {
    std::optional<std::uint64_t> bytes = element_bytes(tensor.dtype);
    for (const std::int64_t dimension : tensor.shape) {
      bytes = bytes ? base::checked_multiply(*bytes, static_cast<std::uint64_t>(dimension))
                    : std::nullopt;
    }
    const auto sum = bytes ? base::checked_add(bytes_, *bytes) : std::nullopt;
    if (!sum || *sum / kMaxExpansion > file_->bytes() + kFreeExpansionBytes / kMaxExpansion) {
      refuse(*file_, "with " + base::quoted(path) +
                         " its tensors have over 256 times the bytes of the file, as only views "
                         "that repeat elements can; save clones of them");
    }
    bytes_ = *sum;
  }

  /// Tied tensors get one source, by which a save knows them.
  std::shared_ptr<const TensorSource> source_of(std::uint64_t begin, const PickledTensor& tensor) {
    auto& source = sources_[{begin, tensor.dtype, tensor.shape, tensor.strides}];
    if (!source) source = std::make_shared<StridedFile>(file_, begin, tensor);
    return source;
  }

  std::shared_ptr<const io::File> file_;
  FindStorage find_storage_;
  RecoverableState& state_;
  std::size_t leaves_ = 0;
  std::uint64_t bytes_ = 0;       // of all tensors
  std::uint64_t text_bytes_ = 0;  // of all paths, keys and texts
  std::map<std::tuple<std::uint64_t, DType, std::vector<std::int64_t>, std::vector<std::int64_t>>,
           std::shared_ptr<const TensorSource>>
      sources_;
  std::set<std::string> keys_;
  std::map<const PickledValue*, bool> has_tensor_;
};

// ---- the two formats ----------------------------------------------------------------------------

Pickle run_at(const io::File& file, std::span<const std::byte> bytes, std::uint64_t offset) {
  try {
    return interop::run_pickle(bytes);
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), {.path = file.path(), .offset = offset});
  }
}

std::vector<std::byte> read_entry(const io::File& file, const ZipEntry& entry) {
  if (entry.bytes > kMaxPickleBytes) {
    refuse(file, "its pickle has " + std::to_string(entry.bytes) +
                     " bytes, more than any state of tensors needs");
  }
  std::vector<std::byte> bytes(entry.bytes);
  file.read_exactly(entry.offset, bytes);
  return bytes;
}

void read_zip_format(const std::shared_ptr<const io::File>& file, RecoverableState& state) {
  const interop::ZipDirectory directory = interop::read_zip_directory(*file);
  // The folder that all entries lie in is named after the file that was saved to.
  constexpr std::string_view kPickle = "/data.pkl";
  const auto found = std::find_if(directory.begin(), directory.end(), [&](const auto& entry) {
    const std::size_t slash = entry.first.find('/');
    return slash != std::string::npos && entry.first.substr(slash) == kPickle;
  });
  if (found == directory.end()) {
    refuse(*file, "this ZIP archive holds no data.pkl, so torch.save did not write it");
  }
  const std::string folder = found->first.substr(0, found->first.find('/') + 1);
  if (directory.contains(folder + "constants.pkl")) {
    refuse(*file, "this is a TorchScript module, which is code; save its state_dict() instead");
  }
  if (const auto order = directory.find(folder + "byteorder"); order != directory.end()) {
    const auto bytes = read_entry(*file, order->second);
    const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (text != "little") refuse(*file, "its tensors are " + base::quoted(text) + "-endian");
  }
  const auto bytes = read_entry(*file, found->second);
  const Pickle pickle = run_at(*file, bytes, found->second.offset);
  StateMaker(
      file,
      [&](const PickledStorage& storage) -> std::optional<ZipEntry> {
        const auto entry = directory.find(folder + "data/" + storage.key);
        return entry == directory.end() ? std::nullopt : std::optional(entry->second);
      },
      state)
      .add(*pickle.root);
}

/// The row of pickles of the legacy format.
class LegacyReader {
 public:
  explicit LegacyReader(std::shared_ptr<const io::File> file) : file_(std::move(file)) {
    // All pickles lie before the storages; how far they reach is known only when they were run.
    const std::uint64_t bytes = std::min(file_->bytes(), kMaxPickleBytes);
    window_.resize(std::min<std::uint64_t>(bytes, kFirstBytes));
    file_->read_exactly(0, window_);
  }

  bool begins_as_it_should() {
    try {
      const auto begin = std::span(window_).first(std::min(window_.size(), kMagicBytes));
      const Pickle magic = interop::run_pickle(begin);
      at_ = magic.bytes;
      return magic.root->kind == Kind::kBigInt && magic.root->text == kLegacyMagic;
    } catch (const Error&) {
      return false;
    }
  }

  void read(RecoverableState& state) {
    const Pickle version = next();
    if (version.root->kind != Kind::kInt || version.root->integer != kLegacyVersion) {
      refuse(*file_, "it has another version than 1001 of the legacy format");
    }
    check_machine(next());
    const Pickle object = next();
    const Pickle keys = next();
    std::map<std::string, PickledStorage> storages;
    collect_storages(object, storages);
    const auto places = find_storages(keys, storages);
    StateMaker(
        file_,
        [&](const PickledStorage& storage) -> std::optional<ZipEntry> {
          const auto place = places.find(storage.key);
          return place == places.end() ? std::nullopt : std::optional(place->second);
        },
        state)
        .add(*object.root);
  }

 private:
  static constexpr std::uint64_t kFirstBytes = std::uint64_t{1} << 20;
  /// The magic number ends in so many bytes, whatever the protocol: another file, in which a pickle
  /// seems to go on and on, is not read to its end.
  static constexpr std::size_t kMagicBytes = 64;

  /// A pickle that does not end in the window is run again with a larger one.
  Pickle next() {
    for (;;) {
      try {
        Pickle pickle = interop::run_pickle(std::span(window_).subspan(at_));
        at_ += pickle.bytes;
        return pickle;
      } catch (const Error& error) {
        const std::uint64_t limit = std::min(file_->bytes(), kMaxPickleBytes);
        if (error.code() != ErrorCode::kDamaged || window_.size() >= limit) {
          throw Error(error.code(), error.what(), {.path = file_->path(), .offset = at_});
        }
        const std::size_t before = window_.size();
        window_.resize(std::min<std::uint64_t>(limit, std::uint64_t{4} * before));
        file_->read_exactly(before, std::span(window_).subspan(before));
      }
    }
  }

  void check_machine(const Pickle& machine) const {
    for (std::size_t i = 0; i + 1 < machine.root->items.size(); i += 2) {
      const PickledValue& key = *machine.root->items[i];
      const PickledValue& value = *machine.root->items[i + 1];
      if (key.text == "little_endian" && value.kind == Kind::kBool && value.integer == 0) {
        refuse(*file_, "its tensors are big-endian");
      }
    }
  }

  static void collect_storages(const Pickle& object,
                               std::map<std::string, PickledStorage>& storages) {
    for (const PickledValue& value : object.values) {
      if (value.kind == Kind::kStorage) {
        storages.insert_or_assign(value.tensor->storage.key, value.tensor->storage);
      }
    }
  }

  std::map<std::string, ZipEntry> find_storages(
      const Pickle& keys, const std::map<std::string, PickledStorage>& storages) const {
    std::map<std::string, ZipEntry> places;
    std::uint64_t at = at_;
    for (const PickledValue* key : keys.root->items) {
      const auto storage = storages.find(key->text);
      if (key->kind != Kind::kString || storage == storages.end()) {
        damaged(*file_, "it lists a storage that nothing refers to", at);
      }
      std::array<std::byte, 8> count{};
      file_->read_exactly(at, count);
      const auto elements = base::load_le<std::uint64_t>(count, 0);
      if (elements != storage->second.elements) {
        damaged(*file_, "a storage has another length than the pickle says", at);
      }
      at += count.size();
      const std::uint64_t element =
          storage->second.is_untyped ? 1 : element_bytes(storage->second.dtype);
      const auto bytes = base::checked_multiply(elements, element);
      if (!bytes || !base::range_fits(at, *bytes, file_->bytes())) {
        throw Error(ErrorCode::kTruncated, "the file ends inside a storage",
                    {.path = file_->path(), .offset = at});
      }
      places[key->text] = {.offset = at, .bytes = *bytes};
      at += *bytes;
    }
    return places;
  }

  std::shared_ptr<const io::File> file_;
  std::vector<std::byte> window_;
  std::size_t at_ = 0;
};

}  // namespace

RecoverableState read_torch_file(const std::filesystem::path& path, std::string recoverable) {
  const auto file = std::make_shared<const io::File>(io::File::open(path, io::File::Access::kRead));
  RecoverableState state{.name = std::move(recoverable)};
  if (interop::looks_like_zip(*file)) {
    read_zip_format(file, state);
    return state;
  }
  LegacyReader legacy(file);
  if (!legacy.begins_as_it_should()) {
    refuse(*file, "this is neither of the formats that torch.save writes");
  }
  legacy.read(state);
  return state;
}

bool looks_like_torch_file(const std::filesystem::path& path) {
  const auto file = std::make_shared<const io::File>(io::File::open(path, io::File::Access::kRead));
  return interop::looks_like_zip(*file) || LegacyReader(file).begins_as_it_should();
}

}  // namespace cairn
