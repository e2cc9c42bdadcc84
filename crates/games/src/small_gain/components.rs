//! Strongly connected components (Tarjan 1972).

/// The components of the graph with an edge from `j` to each of `next[j]`, each after all from which it can be reached; and the
/// component of each node.
pub(super) fn strongly_connected(next: &[Vec<usize>]) -> (Vec<Vec<usize>>, Vec<usize>) {
    const NEW: usize = usize::MAX;
    let count = next.len();
    let (mut index, mut low) = (vec![NEW; count], vec![0; count]);
    let (mut stack, mut on_stack) = (Vec::new(), vec![false; count]);
    let (mut components, mut of) = (Vec::new(), vec![0; count]);
    let mut counter = 0;
    // Nodes that are being visited, with the edge to look at next: without recursion, so that long chains do no harm.
    let mut visits: Vec<(usize, usize)> = Vec::new();
    for root in 0..count {
        if index[root] == NEW {
            visits.push((root, 0));
        }
        while let Some((node, edge)) = visits.pop() {
            if edge == 0 {
                (index[node], low[node]) = (counter, counter);
                counter += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            match next[node].get(edge) {
                Some(&other) => {
                    visits.push((node, edge + 1));
                    if index[other] == NEW {
                        visits.push((other, 0));
                    } else if on_stack[other] {
                        low[node] = low[node].min(index[other]);
                    }
                }
                None => {
                    if let Some(&(parent, _)) = visits.last() {
                        low[parent] = low[parent].min(low[node]);
                    }
                    if low[node] == index[node] {
                        let at = stack.iter().rposition(|&other| other == node).unwrap_or(0);
                        let mut component = stack.split_off(at);
                        component.sort_unstable();
                        component.iter().for_each(|&node| (on_stack[node], of[node]) = (false, components.len()));
                        components.push(component);
                    }
                }
            }
        }
    }
    // They were found in the opposite order.
    components.reverse();
    of.iter_mut().for_each(|component| *component = components.len() - 1 - *component);
    (components, of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_come_after_what_reaches_them() {
        let (components, of) = strongly_connected(&[vec![1], vec![2, 3], vec![0], vec![4], vec![3], vec![4]]);
        assert_eq!(components.len(), 3);
        assert!(components.contains(&vec![0, 1, 2]) && components.contains(&vec![3, 4]) && components.contains(&vec![5]));
        assert!(of[0] < of[3] && of[5] < of[4] && of[0] == of[2]);
    }

    #[test]
    fn edges_without_an_end_and_long_chains() {
        assert_eq!(strongly_connected(&[vec![], vec![]]).0.len(), 2);
        let chain: Vec<Vec<usize>> = (0..100_000).map(|i| if i + 1 < 100_000 { vec![i + 1] } else { vec![] }).collect();
        let (components, of) = strongly_connected(&chain);
        assert!(components.len() == 100_000 && of.is_sorted());
        let ring: Vec<Vec<usize>> = (0..1000).map(|i| vec![(i + 1) % 1000]).collect();
        assert_eq!(strongly_connected(&ring).0.len(), 1);
    }
}
