"""Train a small model on the inquiries as they were known at a cited point, and predict with it.

Usage: python credit_model.py AS_OF          run in the ledger's folder, needs scikit-learn
"""

import sys
from typing import Any

import pandas
from sklearn.linear_model import LogisticRegression

import audit

AS_OF = sys.argv[1]
CUSTOMER, DAY = "003", "2020-06-01"


def history(frame: pandas.DataFrame, customer: str) -> list[dict[str, Any]]:
    """The inquiries of one customer, oldest first, as plain dictionaries."""
    own = frame[frame["CustomerID"] == customer].sort_values("InquiryDate")
    return [dict(zip(own.columns, row, strict=True)) for row in own.itertuples(index=False)]


def features(inquiries: list[dict[str, Any]]) -> dict[str, int]:
    """What is known of a customer from inquiries that came before."""
    late = [inquiry for inquiry in inquiries if inquiry["PaymentStatus"].startswith("Late")]
    return {
        "inquiries": len(inquiries),
        "late": len(late),
        "borrowed": sum(int(inquiry["LoanAmount"]) for inquiry in inquiries),
    }


# The training data: all inquiries as the ledger knew them at AS_OF.
with audit.Ledger() as ledger:
    known = ledger.replay("inquiry", as_of=AS_OF)
    in_june = ledger.replay("inquiry", as_of=AS_OF, valid_at=DAY)

examples, answers = [], []
for customer in known["CustomerID"].unique():
    inquiries = history(known, customer)
    for count, inquiry in enumerate(inquiries):
        examples.append(list(features(inquiries[:count]).values()))
        answers.append(inquiry["PaymentStatus"].startswith("Late"))

with audit.model_run("late-payment", params={"C": 1.0}, seed=7, source="training") as run:
    run.input(known, name="inquiry")
    classifier = LogisticRegression(C=1.0, random_state=7, max_iter=1000).fit(examples, answers)
    run.metric("accuracy", float(classifier.score(examples, answers)))
    version = run.model(classifier, version="1")


@audit.predictor(model=version, key="CustomerID", threshold=0.5, source="scoring")
def late_payment(request: dict[str, Any]) -> float:
    """Probability that the customer's next payment is late."""
    row = [[request["inquiries"], request["late"], request["borrowed"]]]
    return float(classifier.predict_proba(row)[0, 1])


seen = history(in_june, CUSTOMER)
probability = late_payment({"CustomerID": CUSTOMER, **features(seen)})
late_payment.flush()

print(f"trained {version} on {len(known)} inquiries as of {AS_OF}")
print(
    f"customer {CUSTOMER} on {DAY} had inquiries {[int(inquiry['InquiryID']) for inquiry in seen]}"
)
print(f"probability that the next payment is late: {probability:.4f}")
print(f"prediction/{late_payment.last_id}")
