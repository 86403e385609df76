// How modules and tensors are saved, and written back in place.
#include "support.h"

namespace cairn::testing {
namespace {

class Modules : public ::testing::Test {
 protected:
  // Saves `object` as "model", in a store that the other functions look at.
  SaveResult save(Recoverable object) {
    return Checkpointer(dir_ / "store").add_recoverable("model", object).save_checkpoint();
  }
  void load(Recoverable object) {
    Checkpointer(dir_ / "store").add_recoverable("model", object).recover_if_possible();
  }
  std::vector<std::string> keys() {
    Checkpointer finder(dir_ / "store", {.read_only = true});
    const Checkpoint checkpoint = finder.open(finder.list_checkpoints().front());
    std::vector<std::string> keys;
    for (const TensorInfo& info : checkpoint.tensors("model")) keys.emplace_back(info.key);
    return keys;
  }

  ScratchDirectory dir_;
};

// A module with two parameters of the caller's making.
struct Pair : torch::nn::Module {
  Pair(at::Tensor first, at::Tensor second)
      : a(register_parameter("a", std::move(first))),
        b(register_parameter("b", std::move(second))) {}
  at::Tensor a, b;
};

struct OneBuffer : torch::nn::Module {
  explicit OneBuffer(at::Tensor value) : buffer(register_buffer("buffer", std::move(value))) {}
  at::Tensor buffer;
};

TEST_F(Modules, StandUnderTheirDottedNamesWithBuffers) {
  auto net = make_net();
  save(net);
  EXPECT_EQ(keys(), (std::vector<std::string>{"0.bias", "0.weight", "1.bias",
                                              "1.num_batches_tracked", "1.running_mean",
                                              "1.running_var", "1.weight", "3.bias", "3.weight"}));
}

TEST_F(Modules, LoadAsHolderAsReferenceAndAsSharedPointer) {
  auto saved = make_net(1);
  save(saved);
  auto holder = make_net(2), reference = make_net(3), shared = make_net(4);
  load(holder);
  load(*reference);
  load(shared.ptr());
  EXPECT_TRUE(same_bits(bits_of(*holder), bits_of(*saved)));
  EXPECT_TRUE(same_bits(bits_of(*reference), bits_of(*saved)));
  EXPECT_TRUE(same_bits(bits_of(*shared), bits_of(*saved)));
}

TEST_F(Modules, AreWrittenInPlaceAndKeepRequiringGradients) {
  auto net = make_net(1);
  save(net);
  auto other = make_net(2);
  const at::Tensor weight = other->parameters()[0];
  const void* const where = weight.data_ptr();
  load(other);
  EXPECT_EQ(weight.data_ptr(), where);
  EXPECT_TRUE(weight.requires_grad() && weight.is_leaf());
  EXPECT_TRUE(same_bits(weight, net->parameters()[0]));
}

TEST_F(Modules, TellAutogradThatTheyChanged) {
  auto net = make_net();
  save(net);
  const at::Tensor weight = net->parameters()[0];
  const auto version = weight._version();
  load(net);
  EXPECT_GT(weight._version(), version);
}

TEST_F(Modules, MayLieInMemoryInAnyOrder) {
  Pair saved(torch::randn({5, 3}).t(), torch::randn({4, 6}).slice(1, 0, 6, 2));
  save(saved);
  Pair other(torch::zeros({5, 3}).t(), torch::zeros({4, 6}).slice(1, 1, 6, 2));
  load(other);
  EXPECT_TRUE(same_bits(other.a, saved.a));
  EXPECT_TRUE(same_bits(other.b, saved.b));
  Pair contiguous(torch::zeros({3, 5}), torch::zeros({4, 3}));
  load(contiguous);
  EXPECT_TRUE(same_bits(contiguous.a, saved.a));
  EXPECT_TRUE(same_bits(contiguous.b, saved.b));
}

TEST_F(Modules, KeepTheBitsOfEveryDtype) {
  for (const auto type :
       {torch::kBool, torch::kUInt8, torch::kInt8, torch::kInt16, torch::kInt32, torch::kInt64,
        torch::kHalf, torch::kBFloat16, torch::kFloat, torch::kDouble, torch::kComplexHalf,
        torch::kComplexFloat, torch::kComplexDouble}) {
    at::Tensor bytes = torch::arange(96, torch::kUInt8);
    if (type == torch::kBool) bytes = bytes.bitwise_and(1);
    OneBuffer saved(bytes.view(type).clone());
    save(saved);
    OneBuffer other(torch::zeros_like(saved.buffer));
    load(other);
    EXPECT_TRUE(same_bits(other.buffer, saved.buffer)) << type;
  }
}

TEST_F(Modules, MayBeEmptyOrHaveNoDimensions) {
  Pair saved(torch::tensor(2.5), torch::empty({0, 3}));
  save(saved);
  Pair other(torch::tensor(0.0), torch::empty({0, 3}));
  load(other);
  EXPECT_EQ(other.a.item<float>(), 2.5);
}

TEST_F(Modules, SaveConjugateAndNegativeViewsAsWhatTheyMean) {
  const at::Tensor z = torch::randn({4}, torch::kComplexFloat);
  OneBuffer conjugate(z.conj()), negative(torch::imag(z.conj()));
  ASSERT_TRUE(conjugate.buffer.is_conj() && negative.buffer.is_neg());
  save(conjugate);
  OneBuffer loaded(torch::zeros({4}, torch::kComplexFloat));
  load(loaded);
  EXPECT_TRUE(same_bits(loaded.buffer, z.conj().resolve_conj()));
  save(negative);
  OneBuffer real(torch::zeros({4}));
  load(real);
  EXPECT_TRUE(same_bits(real.buffer, torch::imag(z).neg()));
}

TEST_F(Modules, LoadIntoConjugateViews) {
  OneBuffer saved(torch::randn({4}, torch::kComplexFloat));
  save(saved);
  OneBuffer view(torch::zeros({4}, torch::kComplexFloat).conj());
  load(view);
  EXPECT_TRUE(same_bits(view.buffer, saved.buffer));
}

TEST_F(Modules, StoreTiedParametersOnceAndKeepThemTied) {
  const at::Tensor shared = torch::randn({64, 1024});
  Pair tied(shared, shared);
  EXPECT_EQ(save(tied).new_bytes, shared.nbytes());
  const at::Tensor target = torch::zeros({64, 1024});
  Pair other(target, target);
  load(other);
  EXPECT_TRUE(same_bits(other.a, shared));
  EXPECT_EQ(other.a.data_ptr(), other.b.data_ptr());
}

TEST_F(Modules, StoreTiedParametersOnceWhenTheyMustBeCopied) {
  const at::Tensor shared = torch::randn({64, 1024}, torch::kComplexFloat).conj();
  Pair tied(shared, shared);
  EXPECT_EQ(save(tied).new_bytes, shared.nbytes());
}

TEST_F(Modules, TakeEqualValuesForTiedParameters) {
  // Small ones share a chunk with their neighbours, large ones do not.
  for (const std::int64_t length : {8, 1 << 16}) {
    const at::Tensor value = torch::randn({length});
    Pair untied(value.clone(), value.clone());
    save(untied);
    const at::Tensor target = torch::zeros({length});
    Pair tied(target, target);
    load(tied);
    EXPECT_TRUE(same_bits(tied.a, value));
  }
}

TEST_F(Modules, RefuseTwoValuesForTiedParameters) {
  for (const std::int64_t length : {8, 1 << 16}) {
    Pair untied(torch::randn({length}), torch::randn({length}));
    save(untied);
    const at::Tensor target = torch::zeros({length});
    Pair tied(target, target);
    const Error error = error_of([&] { load(tied); });
    EXPECT_EQ(error.code(), ErrorCode::kMismatch);
    EXPECT_TRUE(mentions(error.what(), {"model/a", "model/b", "tied"}));
    EXPECT_TRUE(same_bits(target, torch::zeros({length})));
  }
}

TEST_F(Modules, RefuseTensorsThatCannotBeSavedByName) {
  const at::Tensor dense = torch::eye(3);
  const at::Tensor quantized = torch::quantize_per_tensor(dense, 0.1, 0, torch::kQInt8);
  for (const auto& [tensor, why] :
       std::vector<std::pair<at::Tensor, std::string>>{{dense.to_sparse(), "to_dense()"},
                                                       {quantized, "quantized"},
                                                       {torch::empty({2}, torch::kMeta), "meta"}}) {
    OneBuffer module(tensor);
    const Error error = error_of([&] { save(module); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_TRUE(mentions(error.what(), {"model/buffer", why}));
  }
}

TEST_F(Modules, RefuseToLoadIntoElementsThatShareMemory) {
  OneBuffer saved(torch::randn({3, 4}));
  save(saved);
  OneBuffer expanded(torch::zeros({1, 4}).expand({3, 4}));
  const Error error = error_of([&] { load(expanded); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(error.what(), {"buffer", "contiguous()"}));
}

TEST_F(Modules, RefuseAParameterAndABufferOfOneName) {
  struct Twice : torch::nn::Module {
    Twice() {
      register_parameter("same", torch::zeros({1}));
      register_buffer("same", torch::zeros({2}));
    }
  } module;
  const Error error = error_of([&] { save(module); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"model/same"}));
}

TEST_F(Modules, MayHaveUndefinedParametersAndBuffers) {
  torch::nn::Linear saved(torch::nn::LinearOptions(3, 2).bias(false));
  saved->register_buffer("later", at::Tensor());
  save(saved);
  EXPECT_EQ(keys(), std::vector<std::string>{"weight"});
  torch::nn::Linear same(torch::nn::LinearOptions(3, 2).bias(false)), biased(3, 2);
  load(same);
  EXPECT_TRUE(same_bits(same->weight, saved->weight));
  EXPECT_FALSE(same->bias.defined());
  EXPECT_TRUE(mentions(error_of([&] { load(biased); }).what(), {"\"bias\" is missing"}));
  save(biased);
  EXPECT_TRUE(mentions(error_of([&] { load(same); }).what(), {"\"bias\" is in the checkpoint"}));
}

// Every container that LibTorch has, some in others.
struct Nested : torch::nn::Module {
  Nested() {
    namespace nn = torch::nn;
    list =
        register_module("list", nn::ModuleList(nn::Linear(2, 3), nn::Sequential(nn::Linear(3, 4))));
    dict = register_module("dict", nn::ModuleDict(nn::ModuleDictImpl()));
    dict->update({{"conv", nn::Conv1d(1, 2, 3).ptr()}});
    parameters_ = register_module("parameters", nn::ParameterList(torch::randn({5})));
    named = register_module("named", nn::ParameterDict());
    named->insert("scale", torch::randn({6}));
    any = nn::AnyModule(nn::Linear(4, 4));
    register_module("any", any.ptr());
    register_module("again", any.ptr());  // One module under two names.
  }
  torch::nn::ModuleList list{nullptr};
  torch::nn::ModuleDict dict{nullptr};
  torch::nn::ParameterList parameters_{nullptr};
  torch::nn::ParameterDict named{nullptr};
  torch::nn::AnyModule any;
};

TEST_F(Modules, NestInEveryContainer) {
  Nested saved;
  save(saved);
  EXPECT_EQ(keys(), (std::vector<std::string>{"again.bias", "again.weight", "any.bias",
                                              "any.weight", "dict.conv.bias", "dict.conv.weight",
                                              "list.0.bias", "list.0.weight", "list.1.0.bias",
                                              "list.1.0.weight", "named.scale", "parameters.0"}));
  Nested other;
  load(other);
  EXPECT_TRUE(same_bits(bits_of(other), bits_of(saved)));
}

TEST_F(Modules, LoadAsAnyModule) {
  torch::nn::AnyModule saved(torch::nn::Linear(2, 3)), other(torch::nn::Linear(2, 3)), empty;
  save(saved);
  load(other);
  EXPECT_TRUE(same_bits(bits_of(*other.ptr()), bits_of(*saved.ptr())));
  EXPECT_EQ(error_of([&] { save(empty); }).code(), ErrorCode::kInvalidArgument);
}

TEST_F(Modules, RefuseAnEmptyHolder) {
  torch::nn::Linear empty = nullptr;
  const Error error = error_of([&] { save(empty); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"model", "empty module holder"}));
}

}  // namespace
}  // namespace cairn::testing
