// Using the parameters of a checkpoint without the job that saved them.
#include "support.h"

#include <cmath>
#include <utility>

namespace cairn::testing {
namespace {

class Parameters : public ::testing::Test {
 protected:
  void save(torch::nn::Sequential& net) {
    Checkpointer(dir_ / "store").add_recoverable("model", net).save_checkpoint();
  }
  Checkpointer finder() { return Checkpointer(dir_ / "store", {.read_only = true}); }

  ScratchDirectory dir_;
};

TEST_F(Parameters, TransferWhatFitsAndReportTheRest) {
  auto saved = make_net(1);
  save(saved);
  torch::nn::Sequential other(torch::nn::Linear(4, 8), torch::nn::BatchNorm1d(8), torch::nn::Tanh(),
                              torch::nn::Linear(8, 2), torch::nn::Linear(2, 1));
  const auto checkpointer = finder();
  const TransferReport report =
      parameter_transfer(*other, checkpointer.open(*checkpointer.find_checkpoint()), "model");
  EXPECT_EQ(report.loaded,
            (std::vector<std::string>{"0.bias", "0.weight", "1.bias", "1.num_batches_tracked",
                                      "1.running_mean", "1.running_var", "1.weight"}));
  EXPECT_EQ(report.missing, (std::vector<std::string>{"4.bias", "4.weight"}));
  EXPECT_EQ(report.unexpected, std::vector<std::string>{});
  EXPECT_EQ(report.mismatched,
            (std::vector<std::string>{"3.bias: saved as f32 [1], here f32 [2]",
                                      "3.weight: saved as f32 [1, 8], here f32 [2, 8]"}));
  EXPECT_TRUE(same_bits(other->parameters()[0], saved->parameters()[0]));
}

TEST_F(Parameters, TransferFromARecoverableThatExists) {
  auto net = make_net();
  save(net);
  const auto checkpointer = finder();
  const Error error = error_of(
      [&] { parameter_transfer(*net, checkpointer.open(*checkpointer.find_checkpoint()), "mdl"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_TRUE(mentions(error.what(), {"\"mdl\"", "\"model\""}));
}

TEST_F(Parameters, TransferUnderOtherNames) {
  auto saved = make_net(1);
  save(saved);
  struct Wrapped : torch::nn::Module {
    explicit Wrapped(torch::nn::Sequential net) { register_module("body", std::move(net)); }
  } wrapped(make_net(2));
  const auto checkpointer = finder();
  const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
  const TransferReport report =
      parameter_transfer(wrapped, checkpoint, "model", {.rename = [](const std::string& key) {
                           return key.starts_with("3.") ? std::string() : "body." + key;
                         }});
  EXPECT_EQ(report.loaded.size(), 7U);
  EXPECT_EQ(report.missing, (std::vector<std::string>{"body.3.bias", "body.3.weight"}));
  EXPECT_TRUE(report.unexpected.empty());
  EXPECT_TRUE(same_bits(wrapped.parameters()[0], saved->parameters()[0]));

  const Error error = error_of([&] {
    parameter_transfer(wrapped, checkpoint, "model",
                       {.rename = [](const std::string&) { return "body"; }});
  });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"\"body\"", "\"0.bias\"", "\"0.weight\""}));
}

TEST_F(Parameters, TransferToAnotherDtypeOnRequestOnly) {
  auto saved = make_net(1);
  save(saved);
  auto other = make_net(2);
  other->to(torch::kBFloat16);
  const auto before = bits_of(*other);
  const auto checkpointer = finder();
  const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
  TransferReport report = parameter_transfer(*other, checkpoint, "model");
  EXPECT_EQ(report.mismatched.size(), 9U);
  EXPECT_TRUE(same_bits(bits_of(*other), before));
  report = parameter_transfer(*other, checkpoint, "model", {.convert_dtype = true});
  EXPECT_TRUE(report.mismatched.empty());
  EXPECT_TRUE(same_bits(other->parameters()[0], saved->parameters()[0].to(torch::kBFloat16)));
}

TEST_F(Parameters, AreNotConvertedToAnotherKindOfNumber) {
  struct One : torch::nn::Module {
    explicit One(at::Tensor value) { register_buffer("one", std::move(value)); }
  } floats(torch::full({2}, 1.5)), integers(torch::zeros({2}, torch::kLong));
  Checkpointer(dir_ / "store").add_recoverable("model", floats).save_checkpoint();
  const auto checkpointer = finder();
  const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
  const TransferReport report =
      parameter_transfer(integers, checkpoint, "model", {.convert_dtype = true});
  EXPECT_EQ(report.mismatched, std::vector<std::string>{"one: saved as f32 [2], here i64 [2]"});
  EXPECT_EQ(error_of([&] { read_parameters(checkpoint, "model", {.dtype = DType::kI64}); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Parameters, OfOneNameAreReadAlone) {
  auto saved = make_net(1);
  save(saved);
  // Damage to another tensor does not matter: it is not read.
  at::Tensor table = torch::arange(1 << 20, torch::kFloat).reshape({1 << 10, 1 << 10});
  Checkpointer(dir_ / "store")
      .add_recoverable("net", saved)
      .add_recoverable("table", table)
      .save_checkpoint();
  std::uint64_t offset = 0;
  {
    const auto checkpointer = finder();
    const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
    const auto chunks = checkpoint.chunks(*checkpoint.find_tensor("table", "value"));
    ASSERT_GE(chunks.size(), 2U);
    offset = chunks.back().pack_offset;
  }
  flip_byte(dir_ / "store" / "pack", offset);
  const auto checkpointer = finder();
  const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
  EXPECT_TRUE(same_bits(read_tensor(checkpoint, "net/0.weight"), saved->parameters()[0]));
  EXPECT_TRUE(same_bits(read_rows(checkpoint, "table/value", 3, 7), table.slice(0, 3, 7)));
  EXPECT_EQ(read_rows(checkpoint, "table/value", 5, 5).sizes(),
            (std::vector<std::int64_t>{0, 1024}));
  EXPECT_TRUE(same_bits(read_rows(checkpoint, "table/value", 1, 2, {.dtype = DType::kF64}),
                        table.slice(0, 1, 2).to(torch::kDouble)));
  EXPECT_EQ(error_of([&] { read_tensor(checkpoint, "table/value"); }).code(), ErrorCode::kDamaged);
  EXPECT_EQ(error_of([&] { read_rows(checkpoint, "table/value", 1000, 1024); }).code(),
            ErrorCode::kDamaged);
}

TEST_F(Parameters, OfOneNameNeedANameAndRowsThatExist) {
  auto saved = make_net(1);
  save(saved);
  const auto checkpointer = finder();
  const Checkpoint checkpoint = checkpointer.open(*checkpointer.find_checkpoint());
  const Error error = error_of([&] { read_tensor(checkpoint, "model/0.weigth"); });
  EXPECT_EQ(error.code(), ErrorCode::kNotFound);
  EXPECT_TRUE(mentions(error.what(), {"model/0.weigth", "\"model/0.weight\""}));
  for (const auto& [begin, end] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{-1, 2}, {3, 2}, {0, 9}}) {
    EXPECT_EQ(error_of([&] { read_rows(checkpoint, "model/0.weight", begin, end); }).code(),
              ErrorCode::kInvalidArgument);
  }
  EXPECT_EQ(error_of([&] { read_rows(checkpoint, "model/1.num_batches_tracked", 0, 0); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([&] { read_tensor(checkpoint, "model/0.bias", {.device = "gpu"}); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST_F(Parameters, AreLoadedWholeOrNotAtAll) {
  auto saved = make_net(1), other = make_net(2);
  save(saved);
  const auto checkpointer = finder();
  ParameterMap parameters =
      read_parameters(checkpointer.open(*checkpointer.find_checkpoint()), "model");
  load_parameters(*other, parameters);
  EXPECT_TRUE(same_bits(bits_of(*other), bits_of(*saved)));

  const auto before = bits_of(*other);
  parameters.erase("0.bias");
  parameters["more"] = torch::zeros({1});
  parameters["3.bias"] = torch::zeros({2});
  parameters["0.weight"].zero_();
  const Error error = error_of([&] { load_parameters(*other, parameters); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(error.what(), {"\"0.bias\" is missing", "\"more\" is not in the module",
                                      "\"3.bias\" is f32 [2], the module has f32 [1]"}));
  EXPECT_TRUE(same_bits(bits_of(*other), before));
}

TEST_F(Parameters, AreAveragedInDoublePrecision) {
  std::vector<torch::nn::Sequential> nets{make_net(1), make_net(2), make_net(3)};
  for (auto& net : nets) save(net);
  nets[2]->buffers()[2].fill_(5);  // num_batches_tracked, saved as 0
  const auto checkpointer = finder();
  const ParameterMap mean = average_checkpoints(
      checkpointer, checkpointer.find_checkpoints({.max_num_checkpoints = 2}), "model");
  const at::Tensor expected =
      ((nets[2]->parameters()[0].to(torch::kDouble) + nets[1]->parameters()[0].to(torch::kDouble)) /
       2)
          .to(torch::kFloat);
  EXPECT_TRUE(same_bits(mean.at("0.weight"), expected));
  EXPECT_EQ(mean.at("1.num_batches_tracked").item<std::int64_t>(), 0);
  load_parameters(*nets[0], mean);
}

TEST_F(Parameters, AreAveragedByWeight) {
  std::vector<torch::nn::Sequential> nets{make_net(1), make_net(2)};
  for (auto& net : nets) save(net);
  const auto checkpointer = finder();
  const auto checkpoints = checkpointer.list_checkpoints();
  const auto average = [&](std::vector<double> weights) {
    return average_checkpoints(checkpointer, checkpoints, "model", {.weights = std::move(weights)});
  };
  EXPECT_TRUE(same_bits(average({2, 0}).at("0.weight"), nets[1]->parameters()[0]));
  EXPECT_TRUE(torch::allclose(average({3, 1}).at("0.weight"),
                              nets[1]->parameters()[0] * 0.75 + nets[0]->parameters()[0] * 0.25));
  for (const std::vector<double>& weights :
       {std::vector<double>{1}, {1, -1}, {0, 0}, {1, std::nan("")}}) {
    EXPECT_EQ(error_of([&] { average(weights); }).code(), ErrorCode::kInvalidArgument);
  }
}

TEST_F(Parameters, ThatDifferAreNotAveraged) {
  auto net = make_net();
  save(net);
  torch::nn::Sequential other(torch::nn::Linear(4, 9));
  save(other);
  const auto checkpointer = finder();
  const Error error = error_of(
      [&] { average_checkpoints(checkpointer, checkpointer.list_checkpoints(), "model"); });
  EXPECT_EQ(error.code(), ErrorCode::kMismatch);
  EXPECT_TRUE(mentions(error.what(), {"\"0.weight\" is f32 [8, 4]", "\"3.bias\" is only"}));
  EXPECT_EQ(error_of([&] { average_checkpoints(checkpointer, {}, "model"); }).code(),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::testing
