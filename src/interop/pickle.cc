#include "interop/pickle.h"

#include "base/little_endian.h"
#include "base/text.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <map>

namespace cairn::interop {

namespace {

using Kind = PickledValue::Kind;

/// Memo entries are numbered by the writer; numbers far beyond what can have been made are refused.
constexpr std::uint64_t kMaxMemo = std::uint64_t{1} << 32;
/// A state of a million tensors makes some ten million values. More are not worth their memory.
constexpr std::size_t kMaxValues = std::size_t{1} << 25;
/// A few bytes can ask for a copy of much that was made before. For each byte of input so many may
/// be copied; a state of PyTorch needs about ten.
constexpr std::size_t kMaxCopiedPerByte = 64;
constexpr std::size_t kFreeCopiedBytes = std::size_t{1} << 20;
constexpr std::size_t kMaxRank = 64;

[[noreturn]] void malformed(const std::string& what) {
  throw Error(ErrorCode::kDamaged, "the pickle is malformed: " + what);
}

[[noreturn]] void refuse(const std::string& what) {
  throw Error(ErrorCode::kInvalidArgument,
              "the pickle asks for " + what +
                  ", which an import of plain state does not need; it is refused, and nothing of "
                  "it was run. Load the file in Python if you trust it, and save its state_dict()");
}

// ---- names
// ---------------------------------------------------------------------------------------

/// The dtype that a torch name stands for: "FloatStorage" or "float32".
std::optional<DType> dtype_of_torch_name(std::string_view name) {
  static const std::map<std::string_view, DType> kNames = {{"BoolStorage", DType::kBool},
                                                           {"bool", DType::kBool},
                                                           {"ByteStorage", DType::kU8},
                                                           {"uint8", DType::kU8},
                                                           {"CharStorage", DType::kI8},
                                                           {"int8", DType::kI8},
                                                           {"ShortStorage", DType::kI16},
                                                           {"int16", DType::kI16},
                                                           {"IntStorage", DType::kI32},
                                                           {"int32", DType::kI32},
                                                           {"LongStorage", DType::kI64},
                                                           {"int64", DType::kI64},
                                                           {"HalfStorage", DType::kF16},
                                                           {"float16", DType::kF16},
                                                           {"BFloat16Storage", DType::kBF16},
                                                           {"bfloat16", DType::kBF16},
                                                           {"FloatStorage", DType::kF32},
                                                           {"float32", DType::kF32},
                                                           {"DoubleStorage", DType::kF64},
                                                           {"float64", DType::kF64},
                                                           {"ComplexFloatStorage", DType::kC64},
                                                           {"complex64", DType::kC64},
                                                           {"ComplexDoubleStorage", DType::kC128},
                                                           {"complex128", DType::kC128},
                                                           {"complex32", DType::kC32},
                                                           {"uint16", DType::kU16},
                                                           {"uint32", DType::kU32},
                                                           {"uint64", DType::kU64},
                                                           {"float8_e5m2", DType::kF8E5M2},
                                                           {"float8_e4m3fn", DType::kF8E4M3FN},
                                                           {"float8_e5m2fnuz", DType::kF8E5M2FNUZ},
                                                           {"float8_e4m3fnuz", DType::kF8E4M3FNUZ},
                                                           {"float8_e8m0fnu", DType::kF8E8M0FNU}};
  const auto found = kNames.find(name);
  return found == kNames.end() ? std::nullopt : std::optional(found->second);
}

constexpr std::string_view kTorch = "torch.";

/// "float32" of "torch.float32", or "".
std::string_view torch_name(const PickledValue& global) {
  const std::string_view text = global.text;
  return text.starts_with(kTorch) ? text.substr(kTorch.size()) : std::string_view();
}

bool is_untyped_storage(std::string_view name) {
  return name == "torch.storage.UntypedStorage" || name == "torch.UntypedStorage";
}

/// Functions that the machine knows how to stand in for.
constexpr std::string_view kFunctions[] = {"collections.OrderedDict",
                                           "torch._utils._rebuild_tensor_v2",
                                           "torch._utils._rebuild_tensor",
                                           "torch._utils._rebuild_tensor_v3",
                                           "torch._utils._rebuild_parameter",
                                           "torch.Size",
                                           "torch.device",
                                           "_codecs.encode",
                                           "builtins.set",
                                           "__builtin__.set",
                                           "builtins.frozenset",
                                           "__builtin__.frozenset"};

bool is_known(const std::string& name) {
  if (std::find(std::begin(kFunctions), std::end(kFunctions), name) != std::end(kFunctions)) {
    return true;
  }
  return is_untyped_storage(name) ||
         (name.starts_with(kTorch) && dtype_of_torch_name(name.substr(kTorch.size())));
}

// ---- the machine
// -----------------------------------------------------------------------------------

class Machine {
 public:
  explicit Machine(std::span<const std::byte> bytes) : bytes_(bytes) {
    // What one or two bytes of input can make is made once, so that memory follows the input.
    none_ = &make(Kind::kNone);
    false_ = &make(Kind::kBool);
    true_ = &make(Kind::kBool);
    true_->integer = 1;
    empty_tuple_ = &make(Kind::kTuple);
    for (std::size_t i = 0; i < small_ints_.size(); ++i) {
      small_ints_[i] = &make(Kind::kInt);
      small_ints_[i]->integer = static_cast<std::int64_t>(i);
    }
  }

  Pickle run() {
    while (!is_done_) step(static_cast<char>(u8()));
    pickle_.bytes = at_;
    return std::move(pickle_);
  }

 private:
  // Input.

  std::span<const std::byte> take(std::uint64_t count) {
    if (count > bytes_.size() - at_) malformed("it ends inside an instruction");
    const auto taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  std::uint8_t u8() { return std::to_integer<std::uint8_t>(take(1)[0]); }
  template <typename T>
  T number() {
    return base::load_le<T>(take(sizeof(T)), 0);
  }
  std::string text(std::uint64_t count) {
    const auto taken = take(count);
    return {reinterpret_cast<const char*>(taken.data()), taken.size()};
  }
  std::string line() {
    const auto rest = bytes_.subspan(at_);
    const auto end = std::find(rest.begin(), rest.end(), std::byte{'\n'});
    if (end == rest.end()) malformed("a line has no end");
    std::string taken = text(static_cast<std::uint64_t>(end - rest.begin()));
    ++at_;
    return taken;
  }

  // Values.

  PickledValue& make(Kind kind) {
    if (pickle_.values.size() == kMaxValues) refuse("more than 33,554,432 values");
    PickledValue& value = pickle_.values.emplace_back();
    value.kind = kind;
    return value;
  }
  void push(PickledValue& value) { stack_.push_back(&value); }
  void push_text(Kind kind, std::string text) {
    PickledValue& value = make(kind);
    value.text = std::move(text);
    push(value);
  }
  void push_int(std::int64_t integer) {
    if (integer >= 0 && integer < 256) {
      stack_.push_back(small_ints_[static_cast<std::size_t>(integer)]);
      return;
    }
    PickledValue& value = make(Kind::kInt);
    value.integer = integer;
    push(value);
  }
  void push_bool(bool boolean) { push(boolean ? *true_ : *false_); }
  void push_float(double number) {
    PickledValue& value = make(Kind::kFloat);
    value.number = number;
    push(value);
  }

  /// For an argument that stands for the result: nothing changes it, so it need not be copied.
  void push_again(const PickledValue& value) { push(const_cast<PickledValue&>(value)); }
  void count_copied(std::size_t bytes) {
    copied_bytes_ += bytes;
    if (copied_bytes_ / kMaxCopiedPerByte > bytes_.size() + kFreeCopiedBytes / kMaxCopiedPerByte) {
      refuse("far more copies of its values than a state has");
    }
  }

  PickledValue& pop() {
    if (stack_.size() <= floor()) malformed("its stack is empty");
    PickledValue& value = *stack_.back();
    stack_.pop_back();
    return value;
  }
  PickledValue& top() {
    if (stack_.size() <= floor()) malformed("its stack is empty");
    return *stack_.back();
  }
  std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
  std::vector<PickledValue*> pop_to_mark() {
    if (marks_.empty()) malformed("a mark is missing");
    const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickledValue*> values(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    marks_.pop_back();
    return values;
  }

  void memoize(std::uint64_t number) {
    if (number >= kMaxMemo) malformed("a memo number is out of range");
    memo_[number] = &top();
  }
  void recall(std::uint64_t number) {
    const auto found = memo_.find(number);
    if (found == memo_.end()) malformed("it recalls what it never kept");
    stack_.push_back(found->second);
  }
  std::uint64_t decimal(const std::string& digits) {
    std::uint64_t number = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem != std::errc() || end != digits.data() + digits.size()) {
      malformed("a number is none");
    }
    return number;
  }

  // Two's complement, little-endian, any length.
  void push_long(std::span<const std::byte> digits) {
    if (digits.size() > sizeof(std::int64_t)) {
      PickledValue& value = make(Kind::kBigInt);
      value.text.assign(reinterpret_cast<const char*>(digits.data()), digits.size());
      return push(value);
    }
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < digits.size(); ++i) {
      number |= std::to_integer<std::uint64_t>(digits[i]) << (8 * i);
    }
    if (!digits.empty() && digits.size() < 8 && std::to_integer<int>(digits.back()) >= 128) {
      number |= ~std::uint64_t{0} << (8 * digits.size());
    }
    push_int(static_cast<std::int64_t>(number));
  }

  void push_decimal(std::string digits) {
    if (digits == "00" || digits == "01") return push_bool(digits == "01");
    if (!digits.empty() && digits.back() == 'L') digits.pop_back();
    std::int64_t number = 0;
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (problem != std::errc() || end != digits.data() + digits.size()) {
      malformed("a number is none");
    }
    push_int(number);
  }

  void push_global(const std::string& module, const std::string& name) {
    const std::string whole = module + "." + name;
    if (!is_known(whole)) refuse("the name " + base::quoted(whole));
    push_text(Kind::kGlobal, whole);
  }

  // Containers.

  void append(PickledValue& list, std::span<PickledValue* const> items) {
    if (list.kind != Kind::kList) malformed("it appends to what is no list");
    list.items.insert(list.items.end(), items.begin(), items.end());
  }
  void set_items(PickledValue& dict, std::span<PickledValue* const> items) {
    if (dict.kind != Kind::kDict) malformed("it sets items of what is no dict");
    if (items.size() % 2 != 0) malformed("a key has no value");
    dict.items.insert(dict.items.end(), items.begin(), items.end());
  }
  void push_tuple(std::span<PickledValue* const> items) {
    if (items.empty()) return push(*empty_tuple_);
    PickledValue& tuple = make(Kind::kTuple);
    tuple.items.assign(items.begin(), items.end());
    push(tuple);
  }
  void push_tuple_of(std::size_t count) {
    std::vector<PickledValue*> items(count);
    for (std::size_t i = count; i > 0; --i) items[i - 1] = &pop();
    push_tuple(items);
  }

  // Functions.

  static const PickledValue& argument(const PickledValue& arguments, std::size_t i, Kind kind) {
    if (arguments.items.size() <= i || arguments.items[i]->kind != kind) {
      malformed("a function gets other arguments than it takes");
    }
    return *arguments.items[i];
  }
  static std::uint64_t count_of(const PickledValue& value) {
    if (value.integer < 0) malformed("a count is negative");
    return static_cast<std::uint64_t>(value.integer);
  }
  static std::vector<std::int64_t> integers(const PickledValue& tuple) {
    if (tuple.items.size() > kMaxRank) refuse("a tensor of more than 64 dimensions");
    std::vector<std::int64_t> numbers;
    for (const PickledValue* item : tuple.items) {
      if (item->kind != Kind::kInt) malformed("a shape holds what is no number");
      numbers.push_back(item->integer);
    }
    return numbers;
  }

  // (storage, offset, size, stride, ...); with a dtype of its own in the third version.
  void push_tensor(const PickledValue& arguments, bool has_dtype) {
    PickledValue& value = make(Kind::kTensor);
    value.tensor = std::make_unique<PickledTensor>();
    PickledTensor& tensor = *value.tensor;
    const PickledStorage& storage = argument(arguments, 0, Kind::kStorage).tensor->storage;
    count_copied(sizeof(PickledTensor) + storage.key.size());
    tensor.storage = storage;
    tensor.dtype = tensor.storage.dtype;
    tensor.storage_offset = count_of(argument(arguments, 1, Kind::kInt));
    tensor.shape = integers(argument(arguments, 2, Kind::kTuple));
    tensor.strides = integers(argument(arguments, 3, Kind::kTuple));
    if (tensor.shape.size() != tensor.strides.size()) malformed("a tensor has a stride too many");
    if (has_dtype) {
      const auto dtype = dtype_of_torch_name(torch_name(argument(arguments, 6, Kind::kGlobal)));
      if (!dtype) malformed("a tensor has no dtype");
      tensor.dtype = *dtype;
    } else if (tensor.storage.is_untyped) {
      malformed("a tensor has no dtype");
    }
    push(value);
  }

  // OrderedDict(): nothing, or one list of pairs.
  void push_dict(const PickledValue& arguments) {
    PickledValue& dict = make(Kind::kDict);
    if (!arguments.items.empty()) {
      for (const PickledValue* pair : argument(arguments, 0, Kind::kList).items) {
        if (pair->items.size() != 2) malformed("a dict is made from what are no pairs");
        count_copied(2 * sizeof(PickledValue*));
        dict.items.insert(dict.items.end(), pair->items.begin(), pair->items.end());
      }
    }
    push(dict);
  }

  void call(const PickledValue& function, const PickledValue& arguments) {
    if (function.kind != Kind::kGlobal || arguments.kind != Kind::kTuple) {
      malformed("it calls what is no function");
    }
    const std::string& name = function.text;
    if (name == "collections.OrderedDict") return push_dict(arguments);
    if (name == "torch._utils._rebuild_tensor_v2" || name == "torch._utils._rebuild_tensor") {
      return push_tensor(arguments, false);
    }
    if (name == "torch._utils._rebuild_tensor_v3") return push_tensor(arguments, true);
    if (name == "torch._utils._rebuild_parameter") {
      return push_again(argument(arguments, 0, Kind::kTensor));
    }
    if (name == "torch.Size") return push_again(argument(arguments, 0, Kind::kTuple));
    if (name == "torch.device") return push_again(argument(arguments, 0, Kind::kString));
    if (name == "_codecs.encode") return push_encoded(arguments);
    if (name.ends_with("set")) {  // of a list
      return arguments.items.empty() ? push(make(Kind::kList))
                                     : push_again(argument(arguments, 0, Kind::kList));
    }
    refuse("a call of " + base::quoted(name));
  }

  // Bytes in protocol 2: a text whose characters are the bytes, in latin-1.
  void push_encoded(const PickledValue& arguments) {
    const std::string& utf8 = argument(arguments, 0, Kind::kString).text;
    if (argument(arguments, 1, Kind::kString).text != "latin1") refuse("another codec than latin1");
    count_copied(utf8.size());
    std::string bytes;
    for (std::size_t i = 0; i < utf8.size(); ++i) {
      const auto lead = static_cast<unsigned char>(utf8[i]);
      if (lead < 0x80) {
        bytes += utf8[i];
        continue;
      }
      if ((lead != 0xC2 && lead != 0xC3) || i + 1 == utf8.size()) malformed("bytes are no latin-1");
      bytes += static_cast<char>((lead & 3) << 6 | (static_cast<unsigned char>(utf8[++i]) & 0x3F));
    }
    push_text(Kind::kBytes, std::move(bytes));
  }

  // ("storage", class, key, location, element count, ...): a reference out of the pickle.
  void push_persistent(const PickledValue& id) {
    if (id.kind != Kind::kTuple || id.items.size() < 5 || id.items[0]->kind != Kind::kString) {
      malformed("a reference to a storage is none");
    }
    if (id.items[0]->text != "storage") {
      refuse("a " + base::quoted(id.items[0]->text) + " from outside the pickle");
    }
    const PickledValue& type = argument(id, 1, Kind::kGlobal);
    if (id.items.size() > 5 && id.items[5]->kind != Kind::kNone) {
      refuse("a view of a storage, as only very old versions of PyTorch wrote them");
    }
    PickledValue& value = make(Kind::kStorage);
    value.tensor = std::make_unique<PickledTensor>();
    PickledStorage& storage = value.tensor->storage;
    const std::string& key = argument(id, 2, Kind::kString).text;
    count_copied(key.size());
    storage = {.key = key,
               .elements = count_of(argument(id, 4, Kind::kInt)),
               .is_untyped = is_untyped_storage(type.text)};
    if (!storage.is_untyped) {
      const auto dtype = dtype_of_torch_name(torch_name(type));
      if (!dtype) malformed("a storage has no type");
      storage.dtype = *dtype;
    }
    push(value);
  }

  void step(char instruction);

  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
  bool is_done_ = false;
  Pickle pickle_;
  std::vector<PickledValue*> stack_;
  std::vector<std::size_t> marks_;
  std::map<std::uint64_t, PickledValue*> memo_;
  std::size_t copied_bytes_ = 0;
  PickledValue* none_ = nullptr;
  PickledValue* false_ = nullptr;
  PickledValue* true_ = nullptr;
  PickledValue* empty_tuple_ = nullptr;
  std::array<PickledValue*, 256> small_ints_{};
};

// Names in comments are those of pickletools.
void Machine::step(char instruction) {
  switch (instruction) {
    case '\x80':  // PROTO
      if (u8() > 5) malformed("its protocol is unknown");
      return;
    case '\x95':  // FRAME
      take(8);
      return;
    case '.':  // STOP
      pickle_.root = &pop();
      is_done_ = true;
      return;
    case '(':  // MARK
      marks_.push_back(stack_.size());
      return;
    case '0':  // POP
      if (!marks_.empty() && marks_.back() == stack_.size()) {
        marks_.pop_back();
      } else {
        pop();
      }
      return;
    case '1':  // POP_MARK
      pop_to_mark();
      return;
    case '2':  // DUP
      stack_.push_back(&top());
      return;

    case 'N':  // NONE
      return push(*none_);
    case '\x88':  // NEWTRUE
      return push_bool(true);
    case '\x89':  // NEWFALSE
      return push_bool(false);
    case 'I':  // INT
    case 'L':  // LONG
      return push_decimal(line());
    case 'J':  // BININT
      return push_int(static_cast<std::int32_t>(number<std::uint32_t>()));
    case 'K':  // BININT1
      return push_int(u8());
    case 'M':  // BININT2
      return push_int(number<std::uint16_t>());
    case '\x8a':  // LONG1
      return push_long(take(u8()));
    case '\x8b':  // LONG4
      return push_long(take(number<std::uint32_t>()));
    case 'G': {  // BINFLOAT, big-endian
      std::uint64_t bits = 0;
      for (const std::byte byte : take(8)) bits = bits << 8 | std::to_integer<std::uint64_t>(byte);
      return push_float(std::bit_cast<double>(bits));
    }

    case 'X':  // BINUNICODE
      return push_text(Kind::kString, text(number<std::uint32_t>()));
    case '\x8c':  // SHORT_BINUNICODE
      return push_text(Kind::kString, text(u8()));
    case '\x8d':  // BINUNICODE8
      return push_text(Kind::kString, text(number<std::uint64_t>()));
    case 'T':  // BINSTRING, the text of Python 2
      return push_text(Kind::kString, text(number<std::uint32_t>()));
    case 'U':  // SHORT_BINSTRING
      return push_text(Kind::kString, text(u8()));
    case 'B':  // BINBYTES
      return push_text(Kind::kBytes, text(number<std::uint32_t>()));
    case 'C':  // SHORT_BINBYTES
      return push_text(Kind::kBytes, text(u8()));
    case '\x8e':  // BINBYTES8
      return push_text(Kind::kBytes, text(number<std::uint64_t>()));

    case ']':     // EMPTY_LIST
    case '\x8f':  // EMPTY_SET
      return push(make(Kind::kList));
    case 'a': {  // APPEND
      PickledValue* item = &pop();
      return append(top(), {&item, 1});
    }
    case 'e':     // APPENDS
    case '\x90':  // ADDITEMS
    {
      const auto items = pop_to_mark();
      return append(top(), items);
    }
    case 'l':     // LIST
    case '\x91':  // FROZENSET
    {
      const auto items = pop_to_mark();
      PickledValue& list = make(Kind::kList);
      append(list, items);
      return push(list);
    }
    case ')':  // EMPTY_TUPLE
      return push_tuple({});
    case 't': {  // TUPLE
      const auto items = pop_to_mark();
      return push_tuple(items);
    }
    case '\x85':  // TUPLE1
      return push_tuple_of(1);
    case '\x86':  // TUPLE2
      return push_tuple_of(2);
    case '\x87':  // TUPLE3
      return push_tuple_of(3);
    case '}':  // EMPTY_DICT
      return push(make(Kind::kDict));
    case 's': {  // SETITEM
      PickledValue* value = &pop();
      PickledValue* const pair[] = {&pop(), value};
      return set_items(top(), pair);
    }
    case 'u': {  // SETITEMS
      const auto items = pop_to_mark();
      return set_items(top(), items);
    }
    case 'd': {  // DICT
      const auto items = pop_to_mark();
      PickledValue& dict = make(Kind::kDict);
      set_items(dict, items);
      return push(dict);
    }

    case 'q':  // BINPUT
      return memoize(u8());
    case 'r':  // LONG_BINPUT
      return memoize(number<std::uint32_t>());
    case 'p':  // PUT
      return memoize(decimal(line()));
    case '\x94':  // MEMOIZE
      return memoize(memo_.size());
    case 'h':  // BINGET
      return recall(u8());
    case 'j':  // LONG_BINGET
      return recall(number<std::uint32_t>());
    case 'g':  // GET
      return recall(decimal(line()));

    case 'c': {  // GLOBAL
      const std::string module = line();
      return push_global(module, line());
    }
    case 'i': {  // INST: a call of what it names
      const std::string module = line();
      refuse("a call of " + base::quoted(module + "." + line()));
    }
    case '\x93': {  // STACK_GLOBAL
      const PickledValue& name = pop();
      const PickledValue& module = pop();
      if (name.kind != Kind::kString || module.kind != Kind::kString) malformed("a name is none");
      return push_global(module.text, name.text);
    }
    case 'R':     // REDUCE
    case '\x81':  // NEWOBJ
    {
      const PickledValue& arguments = pop();
      const PickledValue& function = pop();
      return call(function, arguments);
    }
    case 'b': {  // BUILD: attributes of an OrderedDict, such as _metadata of a state_dict
      pop();
      if (top().kind != Kind::kDict) refuse("attributes for what is no OrderedDict");
      return;
    }
    case 'Q':  // BINPERSID
      return push_persistent(pop());
    default: {
      constexpr std::string_view kHex = "0123456789abcdef";
      const auto code = static_cast<unsigned char>(instruction);
      refuse(std::string("the instruction 0x") + kHex[code >> 4] + kHex[code & 15]);
    }
  }
}

}  // namespace

Pickle run_pickle(std::span<const std::byte> bytes) {
  return Machine(bytes).run();
}

}  // namespace cairn::interop
